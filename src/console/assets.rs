//! The files that pages load: style, scripts, icon. They are in the binary, and their address holds
//! a hash of all of them, so that a browser keeps them and a new release is seen at once.
//!
//! Nothing else is served here, and nothing is loaded from another origin.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
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
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! asset {
    ($name:literal, $media_type:expr) => {
        Asset {
            name: $name,
            media_type: $media_type,
            bytes: include_bytes!(concat!("assets/", $name)),
        }
    };
}

/// All files.
static ASSETS: [Asset; 7] = [
    asset!("console.css", STYLE),
    asset!("console.js", SCRIPT),
    asset!("htmx.min.js", SCRIPT),
    asset!("console.live.js", SCRIPT),
    asset!("uplot.min.js", SCRIPT),
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
pub(crate) async fn serve(Path((hash, name)): Path<(String, String)>) -> Response {
    let Some(asset) = Asset::named(&name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let kept = if hash == *HASH { FOREVER } else { "no-store" };
    let headers = [(CONTENT_TYPE, asset.media_type), (CACHE_CONTROL, kept), NOSNIFF];
    (headers, asset.bytes).into_response()
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
            let response = serve(Path((hash, "console.css".to_owned()))).await;
            assert_eq!(response.headers()[CACHE_CONTROL], kept);
            assert_eq!(response.headers()[CONTENT_TYPE], STYLE);
        }
        let response = serve(Path((String::new(), "../console.rs".to_owned()))).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
}
