//! The URL of the registry as text: whether libpq reads it as Sluice does, and how it is shown.
//!
//! The cell's Postgres reads it by libpq, whose errors quote what they do not understand: so a URL that
//! it would misread is refused before. Nothing here prints a password, or a part of one.

use crate::config::secret::Secret;
use crate::domain::ports::Outage;

/// Shortest piece of a password that hides a text: shorter ones are in every sentence.
const PIECE: usize = 3;

/// Why libpq does not read this URL as Sluice does.
const UNREADABLE: &str = "has a special character that is not percent-encoded (it is not shown, because it may be of the \
    password): write % as %25, @ as %40, : as %3A, / as %2F, ? as %3F, # as %23, & as %26, = as %3D";

/// Refuses a URL in which libpq finds another login, host or parameter, or a wrong escape.
pub fn check(url: &Secret, source: &str) -> Result<(), Outage> {
    if is_unambiguous(url.expose()) {
        return Ok(());
    }
    Err(Outage(format!("{source} {UNREADABLE}")))
}

/// The URL without its password, for what is printed.
pub fn masked(url: &Secret) -> String {
    let text = url.expose();
    let (scheme, rest) = text.split_once("://").unwrap_or(("postgres", text));
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let authority = match authority.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:***@{host}"),
            None => format!("{login}@{host}"),
        },
        None => authority.to_owned(),
    };
    let (path, query) =
        path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let query = query.map(|query| {
        let pair = |pair: &str| match pair.split_once('=') {
            Some((name, _)) if name.contains("password") => format!("{name}=***"),
            _ => pair.to_owned(),
        };
        format!("?{}", query.split('&').map(pair).collect::<Vec<_>>().join("&"))
    });
    format!("{scheme}://{authority}{path}{}", query.unwrap_or_default())
}

/// An error text without the URL; nothing of it, if it still has a piece of the password.
pub(super) fn redacted(text: &str, url: &Secret) -> String {
    let text = text.replace(url.expose(), &masked(url));
    let has_piece = |password: &str| {
        let pieces = password.split(|letter: char| !letter.is_ascii_alphanumeric());
        pieces.filter(|piece| piece.len() >= PIECE).any(|piece| text.contains(piece))
            || (!password.is_empty() && text.contains(password))
    };
    if passwords(url.expose()).iter().any(|password| has_piece(password)) {
        return "the statement failed, and its error is not shown because it has a part of the password of the registry".to_owned();
    }
    text
}

// --- private helpers ---

fn is_unambiguous(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let login = authority.rsplit_once('@').map_or("", |(login, _)| login);
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let has_one_sign = |pair: &str| pair.matches('=').count() == 1;
    has_good_escapes(url)
        && !url.contains('#')
        && !url.contains(|letter: char| letter.is_whitespace() || letter.is_control())
        && !login.contains('@')
        && login.matches(':').count() <= 1
        && !path.contains('@')
        && pairs.into_iter().all(has_one_sign)
        && !query.contains(['@', '/', '?'])
}

fn has_good_escapes(url: &str) -> bool {
    url.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().get(..2).unwrap_or_default();
        digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit) && digits != b"00"
    })
}

/// The passwords in the URL as they stand there: of the login, and of parameters.
fn passwords(url: &str) -> Vec<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let login = rest.rsplit_once('@').and_then(|(login, _)| login.split_once(':'));
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let named = pairs.filter(|(name, _)| name.contains("password")).map(|(_, value)| value);
    login.map(|(_, password)| password).into_iter().chain(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn a_masked_url_has_no_password() {
        for (url, expected) in [
            ("postgres://cell:s3@cret@reg:5432/db", "postgres://cell:***@reg:5432/db"),
            ("postgres://cell@reg/db", "postgres://cell@reg/db"),
            (
                "postgresql://reg/db?password=s3cret&sslmode=require",
                "postgresql://reg/db?password=***&sslmode=require",
            ),
        ] {
            assert_eq!(masked(&secret(url)), expected);
        }
    }

    #[test]
    fn a_url_that_libpq_would_misread_is_refused_without_a_part_of_the_password() {
        for good in [
            "postgres://cell:s3cret@reg:5432/db",
            "postgres://cell:a%25b%40c%2Fd@reg/db?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem",
            "postgres://cell@[::1]:5432/db",
            "postgres://%2Fvar%2Frun/db",
            "postgresql://reg/db?user=cell&password=x%3Dy",
        ] {
            assert_eq!(check(&secret(good), "REGISTRY_URL"), Ok(()), "{good}");
        }
        for bad in [
            "postgres://cell:hush%zz@reg/db",
            "postgres://cell:hush%@reg/db",
            "postgres://cell:hush%4@reg/db",
            "postgres://cell:hush%00@reg/db",
            "postgres://cell:hu@sh@reg/db",
            "postgres://cell:hu:sh@reg/db",
            "postgres://cell:12/hush@reg/db",
            "postgres://cell:12?hush@reg/db",
            "postgres://cell:hush#1@reg/db",
            "postgres://cell:hu sh@reg/db",
            "postgresql://reg/db?user=cell&password=hush=1",
            "hush",
        ] {
            let Err(Outage(why)) = check(&secret(bad), "REGISTRY_URL") else { panic!("{bad}") };
            assert!(why.starts_with("REGISTRY_URL has a special character"), "{why}");
            assert!(!why.contains("hu"), "{why}");
        }
    }

    #[test]
    fn an_error_that_has_a_piece_of_the_password_is_not_shown() {
        let url = secret("postgres://cell:hush%zz12@reg/db");
        for text in [
            "invalid percent-encoded token: \"hush%zz12\"",
            "could not translate host name \"zz12\"",
            "could not parse postgres://cell:other@reg: hush",
        ] {
            assert!(redacted(text, &url).contains("is not shown"), "{text}");
        }
        let quoted = "cannot use postgres://cell:hush%zz12@reg/db: no route to host";
        assert_eq!(
            redacted(quoted, &url),
            "cannot use postgres://cell:***@reg/db: no route to host"
        );
        assert_eq!(redacted("no route to host", &url), "no route to host");
    }
}
