//! Whether a rule allows or denies. Patterns and rules both depend on it; it depends on nothing.

/// What a rule does with the topics it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Allows them, unless another rule denies them.
    Allow,
    /// Denies them, whatever other rules allow.
    Deny,
}
