//! Callers of the API: a role, and a tenant that bounds it. Over MQTT the settings name callers by
//! their name at the broker, at the console people by the groups of an identity provider.
//!
//! It reads the text of settings and authenticates no caller; the API decides what each role may do.

use std::fmt;

use super::ids::TenantId;

/// What a caller may do, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallerRole {
    /// Reads.
    Viewer,
    /// Reads, and changes what is below a tenant.
    Operator,
    /// Everything.
    Admin,
}

/// A caller that the settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCaller {
    /// The last level of its request topic: its user name at the broker.
    pub name: String,
    /// Its role.
    pub role: CallerRole,
    /// The only tenant that it may read and change; `None`: all tenants.
    pub tenant: Option<TenantId>,
}

/// A role that a group of an identity provider gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRole {
    /// The group, as the provider names it.
    pub group: String,
    /// The role of its people.
    pub role: CallerRole,
    /// The only tenant that they may read and change; `None`: all tenants.
    pub tenant: Option<TenantId>,
}

/// Longest name of a caller, in bytes.
pub const MAX_CALLER_NAME: usize = 128;

/// Most callers of one setting.
pub const MAX_CALLERS: usize = 256;

/// Reads `ops=admin,agent7=operator@acme`; `None` if an entry is invalid or a name stands twice.
pub fn parse_callers(text: &str) -> Option<Vec<NamedCaller>> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let mut callers: Vec<NamedCaller> = Vec::new();
    for entry in entries {
        let caller = parse_caller(entry)?;
        if callers.len() == MAX_CALLERS || callers.iter().any(|other| other.name == caller.name) {
            return None;
        }
        callers.push(caller);
    }
    (!callers.is_empty()).then_some(callers)
}

/// Reads `ops=admin,/acme/team=operator@acme`; `None` if an entry is invalid or a group stands twice.
pub fn parse_group_roles(text: &str) -> Option<Vec<GroupRole>> {
    let mut groups: Vec<GroupRole> = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (group, role, tenant) = parse_grant(entry)?;
        let is_name = !group.is_empty()
            && group.len() <= MAX_CALLER_NAME
            && !group.chars().any(char::is_control);
        if !is_name || groups.len() == MAX_CALLERS || groups.iter().any(|one| one.group == group) {
            return None;
        }
        groups.push(GroupRole { group: group.to_owned(), role, tenant });
    }
    (!groups.is_empty()).then_some(groups)
}

/// The role of a person with these groups: the highest one, and of equal roles the first of the
/// setting.
pub fn role_of_groups<'a>(
    setting: &'a [GroupRole],
    groups: &[impl AsRef<str>],
) -> Option<&'a GroupRole> {
    let mut best: Option<&GroupRole> = None;
    let has =
        |one: &GroupRole| groups.iter().any(|group| is_same_group(group.as_ref(), &one.group));
    for one in setting.iter().filter(|one| has(one)) {
        if best.is_none_or(|best| one.role > best.role) {
            best = Some(one);
        }
    }
    best
}

/// Whether a text can be the name of a caller: one level of a topic.
pub fn is_caller_name(name: &str) -> bool {
    let is_fine = |character: char| !character.is_control() && !"/+#,=".contains(character);
    !name.is_empty() && name.len() <= MAX_CALLER_NAME && name.chars().all(is_fine)
}

// === impl CallerRole ===

impl CallerRole {
    /// The role of this name. `reader` is another name of viewer.
    pub fn from_label(label: &str) -> Option<Self> {
        match label {
            "viewer" | "reader" => Some(Self::Viewer),
            "operator" => Some(Self::Operator),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }

    /// Its name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for CallerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

// === private helpers ===

/// Some providers write groups as paths, with a leading slash.
fn is_same_group(one: &str, other: &str) -> bool {
    one.strip_prefix('/').unwrap_or(one) == other.strip_prefix('/').unwrap_or(other)
}

fn parse_caller(entry: &str) -> Option<NamedCaller> {
    let (name, role, tenant) = parse_grant(entry)?;
    is_caller_name(name).then(|| NamedCaller { name: name.to_owned(), role, tenant })
}

/// Reads `<name>=<role>` or `<name>=<role>@<tenant>`. A name may contain `=`: the last one counts.
fn parse_grant(entry: &str) -> Option<(&str, CallerRole, Option<TenantId>)> {
    let (name, grant) = entry.rsplit_once('=')?;
    let (role, tenant) = match grant.split_once('@') {
        Some((role, tenant)) => (role, Some(tenant.trim().parse().ok()?)),
        None => (grant, None),
    };
    Some((name.trim(), CallerRole::from_label(role.trim())?, tenant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_a_name_a_role_and_perhaps_a_tenant() {
        let callers =
            parse_callers("ops=admin, agent7=operator@acme,dash =reader@ acme,all=viewer,")
                .unwrap();
        let read: Vec<_> = callers
            .iter()
            .map(|caller| {
                (
                    caller.name.as_str(),
                    caller.role.label(),
                    caller.tenant.as_ref().map(TenantId::as_str),
                )
            })
            .collect();
        let expected = [
            ("ops", "admin", None),
            ("agent7", "operator", Some("acme")),
            ("dash", "viewer", Some("acme")),
            ("all", "viewer", None),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn the_highest_role_of_a_persons_groups_counts() {
        let setting = parse_group_roles(
            "all=viewer, /acme/ops =operator@acme,cn=x=operator,root=admin,beta=operator@beta",
        )
        .unwrap();
        let role = |groups: &[&str]| {
            role_of_groups(&setting, groups).map(|one| {
                (one.role.label(), one.tenant.as_ref().map(ToString::to_string).unwrap_or_default())
            })
        };
        assert_eq!(role(&["nobody"]), None);
        assert_eq!(role(&[]), None);
        assert_eq!(role(&["all"]), Some(("viewer", String::new())));
        assert_eq!(role(&["beta", "all", "/acme/ops"]), Some(("operator", "acme".to_owned())));
        assert_eq!(role(&["acme/ops", "/all"]), Some(("operator", "acme".to_owned())));
        assert_eq!(role(&["cn=x"]), Some(("operator", String::new())));
        assert_eq!(role(&["all", "root"]), Some(("admin", String::new())));
        for wrong in ["", "a", "a=root", "=admin", "a=admin@", "a=viewer,a=admin"] {
            assert_eq!(parse_group_roles(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_invalid_entry_makes_the_whole_text_invalid() {
        for text in [
            "",
            ",",
            "ops",
            "=admin",
            "ops=",
            "ops=root",
            "ops=admin@",
            "ops=admin@a/b",
            "a/b=admin",
            "a+=admin",
            "#=viewer",
            "ops=admin,ops=viewer",
            "ops=admin;dash=viewer",
        ] {
            assert_eq!(parse_callers(text), None, "{text:?}");
        }
        let many = |count: usize| {
            let entries: Vec<_> = (0..count).map(|n| format!("c{n}=viewer")).collect();
            entries.join(",")
        };
        assert!(parse_callers(&many(MAX_CALLERS)).is_some());
        assert!(parse_callers(&many(MAX_CALLERS + 1)).is_none());
    }
}
