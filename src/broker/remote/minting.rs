//! The AUTH packet of a newer login token, while its key is read.
//!
//! It decides neither when the login is renewed nor what an answer means.

use std::future::Future;
use std::pin::Pin;

use bytes::BytesMut;

use crate::broker::error::BrokerError;

/// AUTH with a new token, while its key is read.
pub(super) type Minting = Pin<Box<dyn Future<Output = Result<BytesMut, BrokerError>> + Send>>;

/// The packet that is being made; without one it never resolves.
pub(super) async fn minted(minting: &mut Option<Minting>) -> Result<BytesMut, BrokerError> {
    match minting {
        Some(minting) => minting.await,
        None => std::future::pending().await,
    }
}
