//! The files that pages load: style, scripts, icon. They are in the binary, and their address holds
//! a hash of all of them, so that a browser keeps them and a new release is seen at once.
//!
//! Nothing else is served here, and nothing is loaded from another origin. The files of others are
//! there compressed, too; a browser that takes gzip gets these bytes.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use xxhash_rust::xxh3::Xxh3;

/// Kept by browsers for a year without another look.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// Files have the type that they say.
const NOSNIFF: (HeaderName, &str) = (HeaderName::from_static("x-content-type-options"), "nosniff");

/// A file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asset {
    pub name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    /// The same by gzip.
    gzip: Option<&'static [u8]>,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! asset {
    ($name:literal, $media_type:expr) => {
        Asset {
            name: $name,
            media_type: $media_type,
            bytes: include_bytes!(concat!("assets/", $name)),
            gzip: None,
        }
    };
    ($name:literal, $media_type:expr, gzip) => {
        Asset {
            gzip: Some(include_bytes!(concat!("assets/", $name, ".gz"))),
            ..asset!($name, $media_type)
        }
    };
}

/// All files.
static ASSETS: [Asset; 7] = [
    asset!("console.css", STYLE),
    asset!("console.js", SCRIPT),
    asset!("htmx.min.js", SCRIPT, gzip),
    asset!("console.live.js", SCRIPT),
    asset!("uplot.min.js", SCRIPT, gzip),
    asset!("uplot.min.css", STYLE),
    asset!("icon.svg", "image/svg+xml"),
];

/// The hash of all files, in hexadecimal.
static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Xxh3::new();
    for asset in &ASSETS {
        hash.update(asset.name.as_bytes());
        hash.update(asset.bytes);
    }
    format!("{:016x}", hash.digest())
});

/// The address of a file.
pub(crate) fn href(asset: &Asset) -> String {
    format!("/console/assets/{}/{}", *HASH, asset.name)
}

/// `GET /console/assets/{hash}/{name}`. A page of another release may ask for an old hash: it gets
/// the present file, which is not to be kept.
pub(crate) async fn serve(
    Path((hash, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let Some(asset) = Asset::named(&name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let kept = if hash == *HASH { FOREVER } else { "no-store" };
    let named = [(CONTENT_TYPE, asset.media_type), (CACHE_CONTROL, kept), NOSNIFF];
    match asset.gzip {
        None => (named, asset.bytes).into_response(),
        Some(gzip) if takes_gzip(&headers) => {
            let encoded = [(CONTENT_ENCODING, "gzip"), (VARY, "accept-encoding")];
            (named, encoded, gzip).into_response()
        }
        Some(_) => (named, [(VARY, "accept-encoding")], asset.bytes).into_response(),
    }
}

/// Whether the browser takes gzip (RFC 9110, section 12.5.3): named, and not with a weight of zero.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map(str::parse::<f32>);
        is_gzip && weight.is_none_or(|weight| weight.is_ok_and(|weight| weight > 0.0))
    })
}

// === impl Asset ===

impl Asset {
    /// The file of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        ASSETS.iter().find(|asset| asset.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_kept_only_under_its_hash() {
        let address = href(Asset::named("console.css").unwrap());
        let hash = address.split('/').nth(3).unwrap().to_owned();
        for (hash, kept) in [(hash, FOREVER), ("0".to_owned(), "no-store")] {
            let response = serve(Path((hash, "console.css".to_owned())), HeaderMap::new()).await;
            assert_eq!(response.headers()[CACHE_CONTROL], kept);
            assert_eq!(response.headers()[CONTENT_TYPE], STYLE);
        }
        let response =
            serve(Path((String::new(), "../console.rs".to_owned())), HeaderMap::new()).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn a_browser_that_takes_gzip_gets_it() {
        for (accepts, encoded) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("", false),
            ("gzip;q=0, br", false),
            ("gzip;q=x", false),
            ("*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, accepts.parse().unwrap());
            let path = Path((String::new(), "htmx.min.js".to_owned()));
            let response = serve(path, headers.clone()).await;
            assert_eq!(response.headers().contains_key(CONTENT_ENCODING), encoded, "{accepts}");
            assert_eq!(response.headers()[VARY], "accept-encoding");
            let plain = serve(Path((String::new(), "console.css".to_owned())), headers).await;
            assert!(!plain.headers().contains_key(CONTENT_ENCODING));
        }
    }
}
