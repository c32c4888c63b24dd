//! Certificates in a PKCS#7 envelope without a signature ("certs-only"), as EST answers with them.
//!
//! It signs nothing: the certificates carry their own signatures.

use super::certificate::Certificate;

/// `id-signedData`, 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
/// `ContentInfo` of `id-data`, 1.2.840.113549.1.7.1, without content.
const NO_DATA: &[u8] = &[0x30, 11, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
/// Version 1.
const VERSION: &[u8] = &[2, 1, 1];
/// No digest algorithms, no signers.
const EMPTY_SET: &[u8] = &[0x31, 0];

const SEQUENCE: u8 = 0x30;
/// `[0]`, constructed: the content of a `ContentInfo`, and the certificates of `SignedData`.
const CONTEXT_0: u8 = 0xa0;

/// The envelope of these certificates, in DER.
pub fn certs_only(certificates: &[Certificate]) -> Vec<u8> {
    let bytes: Vec<&[u8]> = certificates.iter().map(Certificate::der).collect();
    let certificates = tagged(CONTEXT_0, &bytes);
    let signed = tagged(SEQUENCE, &[VERSION, EMPTY_SET, NO_DATA, &certificates, EMPTY_SET]);
    tagged(SEQUENCE, &[SIGNED_DATA, &tagged(CONTEXT_0, &[&signed])])
}

// --- private helpers ---

/// One DER value: the tag, the length in its shortest form, the content.
fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut value = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => value.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            // A `usize` has at most eight bytes.
            value.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
            value.extend_from_slice(significant);
        }
    }
    for part in parts {
        value.extend_from_slice(part);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::test_samples::authority;

    #[test]
    fn a_length_has_its_shortest_form() {
        assert_eq!(tagged(4, &[&[7; 3]])[..2], [4, 3]);
        assert_eq!(tagged(4, &[&[7; 0x7f]])[..2], [4, 0x7f]);
        assert_eq!(tagged(4, &[&[7; 0x80]])[..3], [4, 0x81, 0x80]);
        assert_eq!(tagged(4, &[&[7; 0x100]])[..4], [4, 0x82, 1, 0]);
        assert_eq!(tagged(4, &[&vec![7; 0x1_0000]])[..5], [4, 0x83, 1, 0, 0]);
    }

    #[test]
    fn the_envelope_contains_the_certificates_as_they_are() {
        let authority = authority();
        let own = authority.certificate().certificate().clone();
        let envelope = certs_only(&[own.clone(), own.clone()]);
        let der = own.der();
        assert_eq!(memchr::memmem::find_iter(&envelope, der).count(), 2);
        // Nine values around the certificates.
        assert!(envelope.len() - 2 * der.len() < 64, "{}", envelope.len() - 2 * der.len());
    }
}
