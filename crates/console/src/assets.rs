//! Files that pages load: vendored scripts, the stylesheet, the icon. They are part of the binary.
//!
//! Each is served under a name that holds a hash of its content (`console.3f9c….css`), so that browsers may keep it for ever and never show a
//! page of one release with the style of another. Compressed once, at first use.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};
use std::io::Write as _;

/// One file.
struct Asset {
    /// Path as pages name it, below the console.
    href: String,
    /// The last part of `href`.
    file: String,
    kind: &'static str,
    plain: &'static [u8],
    packed: Bytes,
}

/// Name, ending, media type and content of every file.
const FILES: [(&str, &str, &str, &[u8]); 7] = [
    ("base", "css", "text/css; charset=utf-8", include_bytes!("../assets/base.css")),
    ("parts", "css", "text/css; charset=utf-8", include_bytes!("../assets/parts.css")),
    ("console", "js", "text/javascript; charset=utf-8", include_bytes!("../assets/console.js")),
    ("live", "js", "text/javascript; charset=utf-8", include_bytes!("../assets/live.js")),
    ("htmx", "js", "text/javascript; charset=utf-8", include_bytes!("../assets/htmx.min.js")),
    ("htmx-sse", "js", "text/javascript; charset=utf-8", include_bytes!("../assets/htmx-sse.min.js")),
    ("icon", "svg", "image/svg+xml", include_bytes!("../assets/icon.svg")),
];

static ASSETS: LazyLock<Vec<(&'static str, Asset)>> = LazyLock::new(|| {
    let asset = |(name, ending, kind, plain): (&'static str, &'static str, &'static str, &'static [u8])| {
        let hash: String = Sha256::digest(plain).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let file = format!("{name}.{hash}.{ending}");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).expect("a vector takes all bytes");
        let packed = encoder.finish().expect("a vector takes all bytes").into();
        (name, Asset { href: format!("/console/assets/{file}"), file, kind, plain, packed })
    };
    FILES.into_iter().map(asset).collect()
});

/// The address of a file by its plain name, such as `base` or `htmx`.
///
/// # Panics
/// If there is no such file: names are written in this crate alone.
pub(crate) fn href(name: &str) -> &'static str {
    let found = ASSETS.iter().find(|(known, _)| *known == name);
    &found.expect("the name is in FILES").1.href
}

/// Serves a file. An old name (a page of an earlier release, kept open) is not found: its content is gone.
pub(crate) async fn serve(Path(file): Path<String>, headers: HeaderMap) -> Response {
    let Some((_, asset)) = ASSETS.iter().find(|(_, asset)| asset.file == file) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let accepts = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let takes_gzip = accepts.split(',').any(|one| one.split(';').next().is_some_and(|name| name.trim() == "gzip"));
    let fixed = HeaderValue::from_static;
    let shared = [
        (header::CONTENT_TYPE, fixed(asset.kind)),
        (header::CACHE_CONTROL, fixed("public, max-age=31536000, immutable")),
        (header::VARY, fixed("accept-encoding")),
    ];
    match takes_gzip {
        true => (shared, [(header::CONTENT_ENCODING, fixed("gzip"))], asset.packed.clone()).into_response(),
        false => (shared, asset.plain).into_response(),
    }
}
