//! `sslmode=prefer` takes an encrypted connection if there is one, and a plain one otherwise. The TLS
//! of this program refuses certificates that libpq accepts, such as those of X.509 version 1, which
//! Citus makes for itself: then a plain connection is taken, with a warning.
//!
//! `require` and above never fall back.

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// What rustls says of a certificate that it cannot use. `prefer` verifies none, so the certificate
/// cannot be read.
const UNREADABLE: &str = "invalid peer certificate";

/// The options without TLS, if `error` allows to fall back.
pub(super) fn plain_options(
    options: &PgConnectOptions,
    error: &sqlx::Error,
) -> Option<PgConnectOptions> {
    let is_unreadable = match error {
        sqlx::Error::Io(error) => error.to_string().contains(UNREADABLE),
        sqlx::Error::Tls(error) => error.to_string().contains(UNREADABLE),
        _ => false,
    };
    let may_fall_back = matches!(options.get_ssl_mode(), PgSslMode::Prefer);
    (is_unreadable && may_fall_back).then(|| without_tls(options))
}

/// The options without TLS.
pub(super) fn without_tls(options: &PgConnectOptions) -> PgConnectOptions {
    options.clone().ssl_mode(PgSslMode::Disable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> sqlx::Error {
        let text = "invalid peer certificate: Other(OtherError(UnsupportedCertVersion))";
        sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::InvalidData, text))
    }

    #[test]
    fn only_prefer_falls_back_and_only_for_a_certificate() {
        let options = |mode| PgConnectOptions::new_without_pgpass().ssl_mode(mode);
        let falls = |mode, error: &sqlx::Error| plain_options(&options(mode), error).is_some();
        assert!(falls(PgSslMode::Prefer, &refused()));
        for strict in [PgSslMode::Require, PgSslMode::VerifyCa, PgSslMode::VerifyFull] {
            assert!(!falls(strict, &refused()));
        }
        let other = sqlx::Error::Io(std::io::Error::other("connection reset by peer"));
        assert!(!falls(PgSslMode::Prefer, &other));
    }
}
