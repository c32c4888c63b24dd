"""Makes keys and tokens with PyJWT, which is not ours: tokens.py DIRECTORY NOW

Writes key sets and public keys into DIRECTORY, and the tokens as one JSON object to standard output. NOW, in Unix time, is
the moment they are made for.
"""

import base64
import datetime
import hashlib
import hmac
import json
import pathlib
import sys

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://id.example.org/realms/plant"
directory, now = pathlib.Path(sys.argv[1]), int(sys.argv[2])

rsa_1 = rsa.generate_private_key(65537, 2048)
rsa_2 = rsa.generate_private_key(65537, 2048)
ec_1 = ec.generate_private_key(ec.SECP256R1())
ed_1 = ed25519.Ed25519PrivateKey.generate()


def pem(key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


def certificate(key):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    day = datetime.timedelta(days=1)
    at = datetime.datetime.fromtimestamp(now, datetime.timezone.utc)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(7).not_valid_before(at - day).not_valid_after(at + day)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def jwk(algorithm, key, name):
    return json.loads(algorithm.to_jwk(key.public_key())) | {"kid": name, "use": "sig"}


def claims(**changes):
    whole = {
        "iss": ISSUER,
        "sub": "3f1c",
        "aud": "mqtt",
        "exp": now + 600,
        "iat": now,
        "preferred_username": "ann",
        "groups": ["/plant/north"],
        "realm_access": {"roles": ["operators"]},
        "scope": "mqtt.read mqtt.write",
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


def token(key, algorithm, name, **changes):
    return jwt.encode(claims(**changes), key, algorithm, headers={"kid": name} if name else None)


def part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def signed_with_the_public_key():
    """What a verifier takes that lets the header choose the algorithm; PyJWT itself refuses to make it."""
    header = part(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "rsa-1"}).encode())
    signed = header + b"." + part(json.dumps(claims()).encode())
    return (signed + b"." + part(hmac.new(pem(rsa_1), signed, hashlib.sha256).digest())).decode()


def with_the_claims_of(other, signed):
    header, _, signature = signed.split(".")
    return ".".join([header, other.split(".")[1], signature])


def rsa_token(**changes):
    return token(rsa_1, "RS256", "rsa-1", **changes)


old = [jwk(RSAAlgorithm, rsa_1, "rsa-1"), jwk(ECAlgorithm, ec_1, "ec-1"), jwk(OKPAlgorithm, ed_1, "ed-1")]
new = [jwk(RSAAlgorithm, rsa_2, "rsa-2")]
(directory / "old.jwks").write_text(json.dumps({"keys": old}))
(directory / "new.jwks").write_text(json.dumps({"keys": new}))
(directory / "keys.pem").write_bytes(pem(rsa_1) + pem(ec_1) + pem(ed_1))
(directory / "cert.pem").write_bytes(certificate(rsa_1))

tokens = {
    "rs256": rsa_token(),
    "es256": token(ec_1, "ES256", "ec-1"),
    "eddsa": token(ed_1, "EdDSA", "ed-1"),
    "nameless": token(rsa_1, "RS256", None),
    "service": rsa_token(client_id="gate", aud=["web", "mqtt"]),
    "long": rsa_token(exp=now + 10 * 365 * 86400),
    "rotated": token(rsa_2, "RS256", "rsa-2"),
    "just_expired": rsa_token(exp=now - 20),
    "almost_valid": rsa_token(nbf=now + 20),
    "expired": rsa_token(exp=now - 31),
    "not_yet": rsa_token(nbf=now + 31),
    "from_the_future": rsa_token(iat=now + 31),
    "endless": rsa_token(exp=None),
    "wrong_audience": rsa_token(aud="web"),
    "wrong_audiences": rsa_token(aud=["web", "mqtt2"]),
    "no_audience": rsa_token(aud=None),
    "wrong_issuer": rsa_token(iss=ISSUER + "/"),
    "no_issuer": rsa_token(iss=None),
    "with_email": rsa_token(profile={"email": "ann@example.org"}),
    "unsigned": jwt.encode(claims(), None, "none", headers={"kid": "rsa-1"}),
    "hs256": jwt.encode(claims(), "a secret of thirty-two characters", "HS256", headers={"kid": "rsa-1"}),
    "hs256_with_the_public_key": signed_with_the_public_key(),
    "rs512": token(rsa_1, "RS512", "rsa-1"),
    "ps256": token(rsa_1, "PS256", "rsa-1"),
    "es256_by_the_name_of_an_rsa_key": token(ec_1, "ES256", "rsa-1"),
    "rs256_by_the_name_of_another": token(rsa_2, "RS256", "rsa-1"),
    "rs256_of_nobody": token(rsa_2, "RS256", None),
    "tampered": with_the_claims_of(rsa_token(sub="root"), rsa_token()),
}
json.dump(tokens, sys.stdout)
