//! What a `User-Agent` says of the program that opened a message or followed a link. A handful of rules, not a database: names that
//! are not known are `unknown`, never guessed.

/// Mailgun's `client-info`, without the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agent {
    pub kind: &'static str,
    pub os: &'static str,
    pub device: &'static str,
    pub name: &'static str,
    pub bot: &'static str,
}

/// Marks of programs; the first that is found names it. Order matters: most browsers also carry the names of older ones.
const PROGRAMS: [(&str, &str, &str); 20] = [
    ("GoogleImageProxy", "email client", "Gmail"),
    ("YahooMailProxy", "email client", "Yahoo Mail"),
    ("Thunderbird", "email client", "Thunderbird"),
    ("Microsoft Outlook", "email client", "Outlook"),
    ("MSOffice", "email client", "Outlook"),
    ("Outlook-", "email client", "Outlook"),
    ("AppleMail", "email client", "Apple Mail"),
    ("Evolution", "email client", "Evolution"),
    ("curl/", "library", "curl"),
    ("python-requests", "library", "Python Requests"),
    ("Python-urllib", "library", "Python urllib"),
    ("okhttp", "library", "okhttp"),
    ("Go-http-client", "library", "Go http"),
    ("Edg", "browser", "Edge"),
    ("OPR/", "browser", "Opera"),
    ("Firefox/", "browser", "Firefox"),
    ("FxiOS/", "browser", "Firefox"),
    ("CriOS/", "browser", "Chrome"),
    ("Chrome/", "browser", "Chrome"),
    ("Safari/", "browser", "Safari"),
];

const SYSTEMS: [(&str, &str, &str); 9] = [
    ("iPad", "iOS", "tablet"),
    ("iPhone", "iOS", "mobile"),
    ("iPod", "iOS", "mobile"),
    ("Android", "Android", "tablet"),
    ("Windows Phone", "Windows Phone", "mobile"),
    ("Windows", "Windows", "desktop"),
    ("Mac OS X", "macOS", "desktop"),
    ("CrOS", "Chrome OS", "desktop"),
    ("Linux", "Linux", "desktop"),
];

const ROBOTS: [&str; 6] = ["bot", "crawler", "spider", "slurp", "barracuda", "proofpoint"];

impl Agent {
    /// Reads the text of the header.
    pub(super) fn of(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let system = SYSTEMS.iter().find(|(mark, ..)| text.contains(mark));
        let (os, mut device) = system.map_or(("unknown", "unknown"), |(_, os, device)| (*os, *device));
        if os == "Android" && lower.contains("mobile") {
            device = "mobile";
        }
        if ROBOTS.iter().any(|word| lower.contains(word)) {
            return Self { kind: "robot", os, device: "other", name: "unknown", bot: "generic" };
        }
        let Some((mark, kind, name)) = PROGRAMS.iter().find(|(mark, ..)| text.contains(mark)) else {
            // Mail on Apple systems names its engine and nothing else.
            let apple = text.starts_with("Mozilla/5.0") && text.contains("AppleWebKit") && matches!(os, "macOS" | "iOS");
            let (kind, name) = if apple { ("email client", "Apple Mail") } else { ("unknown", "unknown") };
            return Self { kind, os, device, name, bot: "" };
        };
        let is_mobile = *kind == "browser" && matches!(device, "mobile" | "tablet");
        let bot = if *mark == "GoogleImageProxy" { "gmail" } else { "" };
        Self { kind: if is_mobile { "mobile browser" } else { kind }, os, device, name, bot }
    }
}

#[cfg(test)]
mod tests {
    use super::Agent;

    #[test]
    fn known_programs_are_named() {
        let cases = [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36",
                ("browser", "Windows", "desktop", "Chrome", ""),
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Mobile Safari/537.36",
                ("mobile browser", "Android", "mobile", "Chrome", ""),
            ),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", ("browser", "Linux", "desktop", "Firefox", "")),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
                ("email client", "macOS", "desktop", "Apple Mail", ""),
            ),
            (
                "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
                ("email client", "Windows", "desktop", "Gmail", "gmail"),
            ),
            ("Mozilla/5.0 (compatible; Googlebot/2.1)", ("robot", "unknown", "other", "unknown", "generic")),
            ("curl/8.5.0", ("library", "unknown", "unknown", "curl", "")),
            ("", ("unknown", "unknown", "unknown", "unknown", "")),
        ];
        for (text, expected) in cases {
            let agent = Agent::of(text);
            assert_eq!((agent.kind, agent.os, agent.device, agent.name, agent.bot), expected, "{text}");
        }
    }
}
