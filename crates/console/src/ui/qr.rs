//! QR codes.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};
use qrcodegen::{QrCode, QrCodeEcc};

/// Light cells around a QR code, as the standard asks.
const QUIET: i32 = 4;

/// A QR code as a drawing, if the text fits into one: dark on light in both themes, because not every camera reads the reverse.
pub fn qr(text: &str) -> Option<Markup> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let size = code.size();
    let mut path = String::new();
    for (x, y) in (0..size).flat_map(|y| (0..size).map(move |x| (x, y))).filter(|(x, y)| code.get_module(*x, *y)) {
        let _ = write!(path, "M{} {}h1v1h-1z", x + QUIET, y + QUIET);
    }
    let side = size + 2 * QUIET;
    Some(html! {
        svg.qr viewBox=(format!("0 0 {side} {side}")) width="208" height="208" role="img" aria-label="QR code with the secret below" shape-rendering="crispEdges" {
            // Numbers that this module wrote.
            (PreEscaped(format!("<path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path fill=\"#000\" d=\"{path}\"/>")))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qr_codes_hold_numbers_alone() {
        let drawing = qr("otpauth://totp/a?secret=\"><script>").expect("it fits").into_string();
        assert!(drawing.contains("<path fill=\"#000\" d=\"M") && !drawing.contains("script"), "{drawing}");
        assert!(qr(&"x".repeat(4000)).is_none());
    }
}
