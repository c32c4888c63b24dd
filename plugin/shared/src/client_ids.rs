//! Which client ids belong to the replicas of one Sluice.
//!
//! It knows no replica: it compares names. Callers keep the list of the replicas.

/// What a replica adds to its client id for its second connection, which carries the API over MQTT.
pub const EXCHANGE_SUFFIX: &str = "-api";

/// The most digits of an ordinal.
const ORDINAL_DIGITS: usize = 5;

/// The client id without its ordinal: `sluice` for `sluice`, `sluice-2`, `sluice_2`, `sluice2` and
/// `sluice-b`.
pub fn share_group_stem(client_id: &str) -> &str {
    let without_digits = client_id.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = client_id.len() - without_digits.len();
    let rest = match client_id.as_bytes() {
        [.., b'-' | b'_' | b'.', letter] if letter.is_ascii_alphabetic() => {
            &client_id[..client_id.len() - 1]
        }
        _ if (1..=ORDINAL_DIGITS).contains(&digits) => without_digits,
        _ => return client_id,
    };
    let stem = rest.strip_suffix(['-', '_', '.']).unwrap_or(rest);
    if stem.is_empty() { client_id } else { stem }
}

/// The client id of the replica whose connection this is: each replica has two.
pub fn replica_of(client_id: &str) -> &str {
    client_id.strip_suffix(EXCHANGE_SUFFIX).unwrap_or(client_id)
}

/// Whether the client id is one that a member of the share group with this stem may have.
pub fn is_of_share_group(client_id: &str, stem: &str) -> bool {
    [client_id, replica_of(client_id)].iter().any(|id| share_group_stem(id) == stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_has_an_ordinal_and_two_connections() {
        for id in ["sluice", "sluice-1", "sluice_b", "sluice99", "sluice-2-api", "sluice-api"] {
            assert!(is_of_share_group(id, "sluice"), "{id}");
        }
        for id in ["sluice-dashboard", "sluice-123456", "Sluice-1", "pump-1-api", "api", "-api", ""]
        {
            assert!(!is_of_share_group(id, "sluice"), "{id}");
        }
    }
}
