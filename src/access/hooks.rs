//! The answer to one request of the broker: authenticate the sender, then ask the policy.
//!
//! Read it in this order:
//!
//! 1. [`caller`] classifies the proof that a request offers, before it is verified;
//! 2. [`authorizer`] verifies that proof and decides;
//! 3. [`subject`] is the authenticated sender, [`guest`] the credential of an anonymous one;
//! 4. [`logins`] keeps the logins whose proof the broker does not repeat;
//! 5. [`reserved_names`] holds the user names and client ids that no login may use;
//! 6. [`denial`] is the reason of a refusal;
//! 7. [`two_generation_map`] bounds the memory of logins and tokens.
//!
//! It parses no HTTP: [`crate::http`] does.

pub(crate) mod authorizer;
pub(crate) mod caller;
pub(crate) mod denial;
pub mod guest;
pub(crate) mod logins;
pub(crate) mod reserved_names;
pub(crate) mod two_generation_map;

pub use sluice_shared::subject;
