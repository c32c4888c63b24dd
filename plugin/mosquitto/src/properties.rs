//! Replaces the reserved properties of a message by the plugin's own.
//!
//! It knows no pointers: [`PropertyList`] is the list of the broker, or that of a test.

use std::ffi::CStr;

use crate::request::Stamp;

/// A list of properties whose first entry can be changed but not removed.
pub trait PropertyList {
    /// Whether any name is reserved.
    fn has_reserved(&self) -> bool;
    /// Removes the reserved properties behind the first one, and returns how many.
    fn strip_tail(&mut self) -> usize;
    /// Whether the first property is reserved.
    fn is_head_reserved(&self) -> bool;
    /// Gives the first property another name and value. A value that does not end with NUL is refused.
    fn set_head(&mut self, name: &CStr, value_with_nul: &[u8]) -> bool;
    /// Adds a user property at the end. A value that does not end with NUL is refused.
    fn add(&mut self, name: &CStr, value_with_nul: &[u8]) -> bool;
}

/// What was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Reserved properties of the client that are gone.
    pub stripped: usize,
    /// Whether a stamp was added.
    pub is_stamped: bool,
    /// Whether everything was done; otherwise memory was short, and the message must not pass.
    pub is_complete: bool,
}

/// The name as the broker wants it; a test compares it with that of the daemon.
const PUBLISHER: &CStr = c"sluice-publisher";

/// What a lone reserved property becomes when no stamp replaces it.
const REMOVED: (&CStr, &[u8]) = (c"removed", b"\0");

/// Removes all reserved properties, and adds the stamp.
pub fn replace(list: &mut impl PropertyList, stamp: Option<&Stamp>) -> Changed {
    let mut stripped = list.strip_tail();
    let is_head_reserved = list.is_head_reserved();
    stripped += usize::from(is_head_reserved);
    let done = match stamp {
        Some(Stamp(text)) if is_head_reserved => list.set_head(PUBLISHER, text.as_bytes_with_nul()),
        Some(Stamp(text)) => list.add(PUBLISHER, text.as_bytes_with_nul()),
        None if is_head_reserved => list.set_head(REMOVED.0, REMOVED.1),
        None => true,
    };
    Changed { stripped, is_stamped: stamp.is_some() && done, is_complete: done }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;
    use proptest::prelude::*;
    use sluice_shared::proof::{Boot, Proof, ProofKey, ProvenMessage, is_reserved};
    use sluice_shared::time::Timestamp;

    type Pairs = Vec<(CString, CString)>;

    struct TestList(Pairs);

    impl PropertyList for TestList {
        fn has_reserved(&self) -> bool {
            self.0.iter().any(|(name, _)| is_reserved(name.as_bytes()))
        }

        fn strip_tail(&mut self) -> usize {
            let before = self.0.len();
            let mut index = 0;
            self.0.retain(|(name, _)| {
                index += 1;
                index == 1 || !is_reserved(name.as_bytes())
            });
            before - self.0.len()
        }

        fn is_head_reserved(&self) -> bool {
            self.0.first().is_some_and(|(name, _)| is_reserved(name.as_bytes()))
        }

        fn set_head(&mut self, name: &CStr, value_with_nul: &[u8]) -> bool {
            let value = CStr::from_bytes_with_nul(value_with_nul).unwrap();
            self.0[0] = (name.to_owned(), value.to_owned());
            true
        }

        fn add(&mut self, name: &CStr, value_with_nul: &[u8]) -> bool {
            let value = CStr::from_bytes_with_nul(value_with_nul).unwrap();
            self.0.push((name.to_owned(), value.to_owned()));
            true
        }
    }

    fn stamp() -> Stamp {
        let proof = Proof {
            boot: Boot(1),
            sequence: 1,
            at: Timestamp::default(),
            fingerprint: None,
            is_will: false,
        };
        let message = ProvenMessage { identity: b"a", topic: b"t", payload: b"" };
        let key = ProofKey::new(&[1; 16]).unwrap();
        Stamp(key.sign(&proof, &message).unwrap())
    }

    #[test]
    fn the_name_is_that_which_the_daemon_reads() {
        assert_eq!(PUBLISHER.to_str(), Ok(sluice_shared::proof::PUBLISHER_PROPERTY));
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_only_the_plugins_stamp_remains(
            names in prop::collection::vec("(sluice-publisher|Sluice-Publisher|SLUICE-x|own|other)", 0..8),
            is_stamped in any::<bool>(),
        ) {
            let pairs: Pairs =
                names.iter().map(|name| (CString::new(name.as_str()).unwrap(), c"forged".into())).collect();
            let mut list = TestList(pairs);
            let reserved = names.iter().filter(|name| is_reserved(name.as_bytes())).count();
            let stamp = is_stamped.then(stamp);
            let changed = replace(&mut list, stamp.as_ref());
            prop_assert_eq!(changed, Changed { stripped: reserved, is_stamped, is_complete: true });
            let left: Vec<_> = list.0.iter().filter(|(name, _)| is_reserved(name.as_bytes())).collect();
            prop_assert_eq!(left.len(), usize::from(is_stamped));
            prop_assert!(left.iter().all(|(_, value)| value.as_c_str() != c"forged"));
            let own = |pairs: &[(CString, CString)]| {
                pairs.iter().filter(|(name, _)| matches!(name.to_bytes(), b"own" | b"other")).count()
            };
            prop_assert_eq!(own(&list.0), names.len() - reserved);
        }
    }
}
