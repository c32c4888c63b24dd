//! Which tokens are accepted, and why the others are not.

use sluice::access::hooks::subject::{Subject, SubjectKind};
use sluice::access::tokens::error::TokenError;
use sluice::config::sections::issuer::{IssuerConfig, IssuerKeySource};

use super::pyjwt::{ISSUER, made};
use super::verifier::{TokenVerifier, issuer};

fn old_keys() -> IssuerKeySource {
    IssuerKeySource::JwksFile(made().file("old.jwks"))
}

#[test]
fn a_token_of_each_algorithm_is_accepted_by_key_set_and_by_pem() {
    let ann = Subject {
        kind: SubjectKind::User,
        id: "3f1c".into(),
        groups: vec!["operators".into(), "plant/north".into()],
        scopes: vec!["mqtt.read".into(), "mqtt.write".into()],
        expires_at: Some(made().now.plus_seconds(630)),
    };
    for source in [old_keys(), IssuerKeySource::PemFile(made().file("keys.pem"))] {
        let verifier = TokenVerifier::with_keys(issuer(source));
        for name in ["rs256", "es256", "eddsa", "nameless"] {
            assert_eq!(verifier.verify(name).as_ref(), Ok(&ann), "{name}");
        }
        let gate = verifier.verify("service").unwrap();
        assert_eq!((gate.kind, &*gate.id), (SubjectKind::Service, "gate"));
    }
    let verifier =
        TokenVerifier::with_keys(issuer(IssuerKeySource::PemFile(made().file("cert.pem"))));
    assert_eq!(verifier.verify("rs256"), Ok(ann));
}

#[test]
fn the_leeway_holds_at_both_ends_and_no_longer() {
    let verifier = TokenVerifier::with_keys(issuer(old_keys()));
    let now = made().now;
    let late = verifier.verify("just_expired").unwrap();
    assert_eq!(late.expires_at, Some(now.plus_seconds(10)));
    assert!(verifier.verify_at("just_expired", now.plus_seconds(9)).is_ok());
    assert_eq!(verifier.verify_at("just_expired", now.plus_seconds(10)), Err(TokenError::Expired));
    assert!(verifier.verify("almost_valid").is_ok());
    let strict = TokenVerifier::with_keys(IssuerConfig { leeway_seconds: 0, ..issuer(old_keys()) });
    assert_eq!(strict.verify("just_expired"), Err(TokenError::Expired));
    assert_eq!(strict.verify("almost_valid"), Err(TokenError::NotYet { claim: "nbf" }));
}

#[test]
fn every_token_that_is_not_right_is_refused_for_its_reason() {
    let verifier = TokenVerifier::with_keys(issuer(old_keys()));
    let algorithm = |name: &str| TokenError::Algorithm(name.into());
    for (name, refused) in [
        ("expired", TokenError::Expired),
        ("not_yet", TokenError::NotYet { claim: "nbf" }),
        ("from_the_future", TokenError::NotYet { claim: "iat" }),
        ("endless", TokenError::Missing("exp".into())),
        ("wrong_audience", TokenError::Audience),
        ("wrong_audiences", TokenError::Audience),
        ("no_audience", TokenError::Audience),
        ("wrong_issuer", TokenError::Issuer),
        ("no_issuer", TokenError::Issuer),
        ("unsigned", algorithm("none")),
        ("hs256", algorithm("HS256")),
        ("hs256_with_the_public_key", algorithm("HS256")),
        ("rs512", algorithm("RS512")),
        ("ps256", algorithm("PS256")),
        ("es256_by_the_name_of_an_rsa_key", TokenError::WrongKey { algorithm: "ES256" }),
        ("rs256_by_the_name_of_another", TokenError::Signature),
        ("rs256_of_nobody", TokenError::Signature),
        ("tampered", TokenError::Signature),
        ("rotated", TokenError::UnknownKey { issuer: ISSUER.into() }),
    ] {
        assert_eq!(verifier.verify(name), Err(refused), "{name}");
    }
}

#[test]
fn no_refusal_repeats_any_part_of_the_token() {
    let verifier = TokenVerifier::with_keys(issuer(old_keys()));
    for name in ["expired", "unsigned", "hs256", "wrong_issuer", "tampered", "rotated"] {
        let said = verifier.verify(name).unwrap_err().to_string();
        for part in made().token(name).split('.').filter(|part| !part.is_empty()) {
            assert!(!said.contains(part), "{said}");
        }
    }
}

#[test]
fn a_required_claim_must_be_present_and_an_audience_only_if_configured() {
    let picky =
        IssuerConfig { required_claims: vec!["profile.email".into()], ..issuer(old_keys()) };
    let verifier = TokenVerifier::with_keys(picky);
    assert!(verifier.verify("with_email").is_ok());
    assert_eq!(verifier.verify("rs256"), Err(TokenError::Missing("profile.email".into())));
    let lax = TokenVerifier::with_keys(IssuerConfig { audience: Vec::new(), ..issuer(old_keys()) });
    assert!(lax.verify("no_audience").is_ok() && lax.verify("wrong_audience").is_ok());
}

#[test]
fn each_issuer_is_verified_by_its_own_keys_only() {
    let other = IssuerConfig {
        issuer: format!("{ISSUER}/"),
        ..issuer(IssuerKeySource::JwksFile(made().file("new.jwks")))
    };
    let verifier = TokenVerifier::with_keys(issuer(old_keys()));
    assert_eq!(verifier.verify("wrong_issuer"), Err(TokenError::Issuer));
    let both = TokenVerifier::new(vec![issuer(old_keys()), other.clone()]);
    crate::support::wait::until("both have keys", || {
        both.verify("rs256").is_ok()
            && !matches!(both.verify("wrong_issuer"), Err(TokenError::KeysAway { .. }))
    });
    // It names the second issuer and is signed by a key of the first.
    assert_eq!(
        both.verify("wrong_issuer"),
        Err(TokenError::UnknownKey { issuer: other.issuer.into() })
    );
}
