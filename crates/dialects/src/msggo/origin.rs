//! Which pages may use a public key (MsgGO section 4): the host of `Origin`, or of `Referer`, must be an allowed domain.

use http::uri::Authority;

/// The host of the page that sent the request, in lower case. `None`: the request is anonymous.
///
/// `Referer` counts only when there is no `Origin`; `Origin: null` (a sandboxed or local page) is anonymous. Scheme, port and path
/// do not matter.
pub fn page_host(origin: Option<&str>, referer: Option<&str>) -> Option<String> {
    let present = |value: Option<&str>| value.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let page = present(origin).or_else(|| present(referer))?;
    let (_, rest) = page.split_once("://")?;
    host(rest)
}

/// Whether a list of allowed domains covers a host. `*.example.com` covers its subdomains, not `example.com` itself.
pub fn allows(allowed_domains: &[String], page_host: &str) -> bool {
    allowed_domains.iter().any(|entry| match entry.strip_prefix("*.") {
        None => entry.eq_ignore_ascii_case(page_host),
        Some(parent) => {
            page_host.strip_suffix(&parent.to_ascii_lowercase()).and_then(|rest| rest.strip_suffix('.')).is_some_and(|sub| !sub.is_empty())
        }
    })
}

/// The host at the start of what follows `scheme://`.
fn host(rest: &str) -> Option<String> {
    let authority: Authority = rest.split(['/', '?', '#', '\\']).next()?.parse().ok()?;
    let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(domains: &[&str], origin: Option<&str>, referer: Option<&str>) -> bool {
        let domains: Vec<String> = domains.iter().map(|domain| (*domain).to_owned()).collect();
        page_host(origin, referer).is_some_and(|host| allows(&domains, &host))
    }

    // MSGGO-41
    #[test]
    fn an_allowed_origin_passes() {
        for origin in ["https://example.com", "http://example.com:8080", "https://EXAMPLE.com", "https://example.com."] {
            assert!(allowed(&["shop.test", "Example.com"], Some(origin), None), "{origin}");
        }
        assert!(allowed(&["[::1]"], Some("http://[::1]:3000"), None));
        assert!(allowed(&["localhost"], Some("capacitor://localhost"), None));
    }

    // MSGGO-42
    #[test]
    fn another_origin_does_not() {
        for origin in [
            "https://example.org",
            "https://example.com.evil.test",
            "https://evilexample.com",
            "https://sub.example.com",
            "https://evil.test/example.com",
            "https://evil.test?example.com",
            "https://evil.test\\@example.com",
            "https://example.com@evil.test",
            "example.com",
            "https://",
        ] {
            assert!(!allowed(&["example.com"], Some(origin), None), "{origin}");
        }
        assert!(!allowed(&[], Some("https://example.com"), None));
    }

    // MSGGO-43
    #[test]
    fn no_origin_and_no_referer_is_anonymous() {
        assert_eq!(page_host(None, None), None);
        assert_eq!(page_host(Some("null"), Some("https://example.com/")), None);
        assert_eq!(page_host(Some(" "), None), None);
    }

    #[test]
    fn the_referer_counts_when_there_is_no_origin() {
        assert!(allowed(&["example.com"], None, Some("https://user@Example.com:8443/shop?q=\"<x>\"#top")));
        assert!(allowed(&["example.com"], Some(""), Some("https://example.com")));
        assert!(!allowed(&["example.com"], Some("https://evil.test"), Some("https://example.com/")));
    }

    #[test]
    fn a_wildcard_covers_subdomains_only() {
        for (origin, expected) in [
            ("https://a.example.com", true),
            ("https://a.b.example.com", true),
            ("https://example.com", false),
            ("https://aexample.com", false),
            ("https://.example.com", false),
        ] {
            assert_eq!(allowed(&["*.example.com"], Some(origin), None), expected, "{origin}");
        }
        assert!(!allowed(&["*"], Some("https://example.com"), None));
    }
}
