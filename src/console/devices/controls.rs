//! The filters of the list of devices as form controls. Each stands for the terms of one key of the
//! search; what a control cannot say stays in the search as it is.
//!
//! It reads no row.

use crate::console::query::PageQuery;
use crate::domain::device_search::DeviceSearch;
use crate::domain::search::Search;
use crate::http::TenantView;

/// Most tenants that the filter offers; with more of them it is a box.
const TENANTS_OFFERED: usize = 50;

/// The value of a control that leaves its terms as they are.
const KEPT: &str = "=";

/// The keys that a control stands for, by its name. The control "heard" sets one of two keys.
const CONTROLS: [&str; 6] = ["tenant", "site", "status", "heard", "certificate", "refused"];

/// A `<select>`, or a box if it has no choices.
pub(super) struct DeviceControl {
    pub name: &'static str,
    pub label: &'static str,
    pub value: String,
    pub choices: Vec<(String, String)>,
}

/// The search of an address with the values of its controls.
pub(super) fn merged(query: &PageQuery) -> String {
    let text = query.get("search").unwrap_or_default();
    let Ok(DeviceSearch(mut search)) = text.parse() else { return text.to_owned() };
    for name in CONTROLS {
        // A control that is not in the form changes nothing.
        let Some(value) = query.given(name) else { continue };
        if value == KEPT {
            continue;
        }
        search = search.without(name);
        if name == "heard" {
            search = search.without("silent");
        }
        if !value.is_empty() {
            let term = term_of(name, value);
            let Ok(DeviceSearch(added)) = term.parse() else { continue };
            search = added.terms().iter().fold(search, |search, term| search.with(term.clone()));
        }
    }
    search.to_string()
}

/// The controls for a search.
pub(super) fn of(search: &Search, tenants: &[TenantView]) -> Vec<DeviceControl> {
    let offered: Vec<(String, String)> = if tenants.len() > TENANTS_OFFERED {
        Vec::new()
    } else {
        let ids = tenants.iter().map(|tenant| (tenant.tenant_id.clone(), tenant.tenant_id.clone()));
        ids.collect()
    };
    vec![
        control(search, "tenant", "Tenant", offered),
        control(search, "site", "Site", Vec::new()),
        control(search, "status", "Status", same(&["ACTIVE", "INACTIVE", "REVOKED"])),
        control(
            search,
            "heard",
            "Last heard",
            pairs(&[
                ("silent:5m", "not for 5 min"),
                ("silent:1h", "not for 1 h"),
                ("silent:24h", "not for 24 h"),
                ("silent:7d", "not for 7 d"),
                ("never", "never"),
            ]),
        ),
        control(
            search,
            "certificate",
            "Certificate",
            pairs(&[
                ("active", "active"),
                ("ending:7d", "ends within 7 d"),
                ("ending:30d", "ends within 30 d"),
                ("expired", "expired"),
                ("revoked", "revoked"),
                ("none", "none"),
            ]),
        ),
        control(search, "refused", "Refused", pairs(&[("1h", "in 1 h"), ("24h", "in 24 h")])),
    ]
}

// === private helpers ===

/// The term for the value of a control, in quotes where a text may need them.
fn term_of(name: &str, value: &str) -> String {
    match name {
        "heard" if value.starts_with("silent:") => value.to_owned(),
        "tenant" | "site" => {
            let (text, end) = value.strip_suffix('*').map_or((value, ""), |text| (text, "*"));
            format!("{name}:\"{}\"{end}", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
        _ => format!("{name}:{value}"),
    }
}

fn control(
    search: &Search,
    name: &'static str,
    label: &'static str,
    mut choices: Vec<(String, String)>,
) -> DeviceControl {
    let of_key = |key: &str| search.terms().iter().filter(|term| term.key == key).count();
    let terms = of_key(name) + if name == "heard" { of_key("silent") } else { 0 };
    let single = match name {
        "heard" => {
            let silent = search.only("silent").map(|span| format!("silent:{span}"));
            silent.or_else(|| search.only("heard"))
        }
        _ => search.only(name),
    };
    let is_box = choices.is_empty();
    let value = match single {
        Some(value) if terms == 1 && (is_box || choices.iter().any(|choice| choice.0 == value)) => {
            value.trim_matches('"').to_owned()
        }
        _ if terms == 0 => String::new(),
        _ => KEPT.to_owned(),
    };
    if !is_box {
        choices.insert(0, (String::new(), "any".to_owned()));
        if value == KEPT {
            choices.insert(0, (KEPT.to_owned(), "as searched".to_owned()));
        }
    }
    DeviceControl { name, label, value, choices }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(value, label)| ((*value).to_owned(), (*label).to_owned())).collect()
}

fn same(values: &[&str]) -> Vec<(String, String)> {
    values.iter().map(|value| ((*value).to_owned(), (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(pairs: &str) -> String {
        merged(&PageQuery::parse(pairs))
    }

    #[test]
    fn a_control_changes_its_own_terms_and_no_other() {
        assert_eq!(
            merge("search=pump-*+silent%3A1h&status=ACTIVE"),
            "device:pump-* silent:1h status:ACTIVE"
        );
        assert_eq!(merge("search=silent%3A1h+tenant%3Aa&heard=never"), "tenant:a heard:never");
        assert_eq!(merge("search=heard%3Anever&heard=silent%3A5m"), "silent:5m");
        assert_eq!(merge("search=tenant%3Aa+tenant%3Ab&tenant=%3D&status="), "tenant:a tenant:b");
        assert_eq!(merge("search=tenant%3Aa&tenant="), "");
        assert_eq!(merge("search=x&site=hall+7"), "device:x site:\"hall 7\"");
        assert_eq!(merge("search=x&site=a\"b*"), "device:x site:\"a\\\"b\"*");
        assert_eq!(merge("search=colour%3Ared&status=ACTIVE"), "colour:red");
    }

    #[test]
    fn a_control_shows_what_the_search_says() {
        let value = |text: &str, name: &str| {
            let DeviceSearch(search) = text.parse().unwrap();
            of(&search, &[]).into_iter().find(|control| control.name == name).unwrap().value
        };
        assert_eq!(value("silent:1h", "heard"), "silent:1h");
        assert_eq!(value("silent:2h", "heard"), KEPT);
        assert_eq!(value("heard:never", "heard"), "never");
        assert_eq!(value("-status:ACTIVE", "status"), KEPT);
        assert_eq!(value("site:\"hall 7\"", "site"), "hall 7");
        assert_eq!(value("pump", "status"), "");
    }
}
