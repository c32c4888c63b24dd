//! The registry's decisions: what happens to certificates, and that it takes effect.
//!
//! The chain of a revocation: [`publish`] runs it; [`list`](mod@list) makes the CRL and looks after its file; [`enforce`]
//! brings the broker to act on it, told by [`reload`] and watched by [`prove`]; [`progress`] says how far it came.

pub mod enforce;
pub mod list;
pub mod progress;
pub mod prove;
pub mod publish;
pub mod reload;
