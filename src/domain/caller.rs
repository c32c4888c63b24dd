//! Callers of the API over MQTT: a name at the broker, a role, and a tenant that bounds it.
//!
//! It reads the text of a setting. The broker authenticates a caller; the API decides what each role
//! may do.

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

fn parse_caller(entry: &str) -> Option<NamedCaller> {
    let (name, grant) = entry.split_once('=')?;
    let (role, tenant) = match grant.split_once('@') {
        Some((role, tenant)) => (role, Some(tenant.trim().parse().ok()?)),
        None => (grant, None),
    };
    let (name, role) = (name.trim(), CallerRole::from_label(role.trim())?);
    is_caller_name(name).then(|| NamedCaller { name: name.to_owned(), role, tenant })
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
