//! What Sluice signs, in the eyes of others: OpenSSL and pkilint; and what OpenSSL makes, in the
//! eyes of Sluice.

mod lint;
pub mod openssl;
mod requests;
mod verified;
