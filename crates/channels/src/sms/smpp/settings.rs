//! Message centres as people write them: `smpp://user:password@host:2775?window=10`, `smpps://…`.

use std::fmt;
use std::time::Duration;

use http::Uri;
use posthaste_domain::sms::Sender;
use rusmpp::types::COctetString;

use crate::SettingsError;
use crate::relay::{parse_login, percent_decode};
use crate::settings::refuse;

/// How a message of several segments is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Long {
    /// Segment by segment, each with a user data header.
    Headers,
    /// At once, in the field `message_payload`.
    Payload,
}

/// How the default alphabet is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// One septet an octet, as nearly all centres expect.
    Unpacked,
    /// Septets without gaps.
    Packed,
}

/// Type of number and numbering plan.
pub(super) type Address = (u8, u8);

/// A message centre and how to talk to it.
#[derive(Clone, PartialEq)]
pub(crate) struct SmppSettings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) system_id: COctetString<1, 16>,
    pub(super) password: COctetString<1, 9>,
    pub(super) system_type: COctetString<1, 13>,
    /// Requests that wait for their answer at once.
    pub(super) window: usize,
    pub(super) connect_timeout: Duration,
    /// How long an answer is waited for.
    pub(super) response_timeout: Duration,
    /// Silence after which the centre is asked whether it is there.
    pub(super) enquire_link: Duration,
    /// The longest pause between two tries to connect.
    pub(super) reconnect_max: Duration,
    /// Pause after the centre asked for fewer messages.
    pub(super) throttle_pause: Duration,
    pub(super) long: Long,
    pub(super) alphabet: Alphabet,
    /// Instead of what the sender looks like.
    pub(super) source: Option<Address>,
    pub(super) destination: Address,
}

impl fmt::Debug for SmppSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} (window {}, tls {})", self.host, self.port, self.window, self.tls)
    }
}

const PARAMETERS: &str = "system_type, window, connect_timeout, response_timeout, enquire_link, reconnect_max, throttle_pause, long, alphabet, \
                          source_ton, source_npi, dest_ton, dest_npi";

impl SmppSettings {
    /// Reads a URL; `field` is its place in the configuration.
    ///
    /// # Errors
    /// If it cannot be meant; nothing of the password is in the message.
    pub(crate) fn parse(field: &str, text: &str) -> Result<Self, SettingsError> {
        let fail = |reason: &str| refuse(field, reason);
        let uri: Uri = text.parse().map_err(|_| fail("is not a valid URL such as smpp://user:password@host:2775"))?;
        let tls = match uri.scheme_str() {
            Some("smpp") => false,
            Some("smpps") => true,
            _ => return Err(fail("must be \"simulator\" or begin with smpp:// or smpps://")),
        };
        let authority = uri.authority().ok_or_else(|| fail("has no host"))?.as_str();
        let (login, _) = authority.rsplit_once('@').ok_or_else(|| fail("has no user and password"))?;
        let (user, password) = parse_login(field, login)?;
        let host = uri.host().map(|host| host.trim_start_matches('[').trim_end_matches(']')).unwrap_or_default();
        if host.is_empty() {
            return Err(fail("has no host"));
        }
        if !uri.path().trim_matches('/').is_empty() {
            return Err(fail("must have nothing after the host and port but parameters"));
        }
        let mut settings = Self {
            host: host.to_owned(),
            port: uri.port_u16().filter(|port| *port > 0).unwrap_or(if tls { 3550 } else { 2775 }),
            tls,
            system_id: COctetString::from_string(user).map_err(|_| fail("has a user that is longer than 15 characters or not ASCII"))?,
            password: COctetString::from_string(password)
                .map_err(|_| fail("has a password that is longer than 8 characters or not ASCII"))?,
            system_type: COctetString::empty(),
            window: 10,
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(30),
            enquire_link: Duration::from_secs(30),
            reconnect_max: Duration::from_secs(60),
            throttle_pause: Duration::from_secs(1),
            long: Long::Headers,
            alphabet: Alphabet::Unpacked,
            source: None,
            destination: (1, 1),
        };
        for parameter in uri.query().unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            settings.set(name, value).map_err(|reason| refuse(field, format!("has a parameter {name} that {reason}")))?;
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let time = || duration(value).ok_or_else(|| "must be a time such as 30s or 500ms".to_owned());
        let octet = || value.parse::<u8>().map_err(|_| "must be a number from 0 to 255".to_owned());
        match name {
            "system_type" => {
                let text = percent_decode(value).ok_or("is not properly %-encoded")?;
                self.system_type = COctetString::from_string(text).map_err(|_| "must be at most 12 ASCII characters")?;
            }
            "window" => {
                let window = value.parse().ok().filter(|window| (1..=1000).contains(window));
                self.window = window.ok_or("must be a number from 1 to 1000")?;
            }
            "connect_timeout" => self.connect_timeout = time()?,
            "response_timeout" => self.response_timeout = time()?,
            "enquire_link" => self.enquire_link = time()?,
            "reconnect_max" => self.reconnect_max = time()?,
            "throttle_pause" => self.throttle_pause = time()?,
            "long" => {
                self.long = match value {
                    "headers" => Long::Headers,
                    "payload" => Long::Payload,
                    _ => return Err("must be headers or payload".to_owned()),
                }
            }
            "alphabet" => {
                self.alphabet = match value {
                    "gsm7" => Alphabet::Unpacked,
                    "gsm7-packed" => Alphabet::Packed,
                    _ => return Err("must be gsm7 or gsm7-packed".to_owned()),
                }
            }
            "source_ton" => self.source.get_or_insert((0, 0)).0 = octet()?,
            "source_npi" => self.source.get_or_insert((0, 0)).1 = octet()?,
            "dest_ton" => self.destination.0 = octet()?,
            "dest_npi" => self.destination.1 = octet()?,
            _ => return Err(format!("is unknown; known are {PARAMETERS}")),
        }
        Ok(())
    }

    /// Type of number, numbering plan and text of a sender; an empty one is left to the centre.
    pub(super) fn source_of<'a>(&self, from: &'a str) -> (Address, &'a str) {
        let (guess, text) = match Sender::parse(from) {
            Some(Sender::Number(digits)) => ((1, 1), digits),
            Some(Sender::ShortCode(digits)) => ((3, 0), digits),
            Some(Sender::Name(name)) => ((5, 0), name),
            None => ((0, 0), ""),
        };
        (self.source.unwrap_or(guess), text)
    }
}

/// `30`, `30s` or `500ms`, at least one millisecond.
fn duration(text: &str) -> Option<Duration> {
    let (digits, unit_ms) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => (text.strip_suffix('s').unwrap_or(text), 1000),
    };
    let number: u64 = digits.parse().ok()?;
    Some(Duration::from_millis(number.checked_mul(unit_ms)?)).filter(|time| !time.is_zero() && time.as_secs() <= 24 * 3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> SmppSettings {
        SmppSettings::parse("sms.carrier", url).expect(url)
    }

    #[test]
    fn urls_have_sensible_defaults() {
        let plain = parsed("smpp://me:p%40ss@centre.example");
        assert_eq!((plain.host.as_str(), plain.port, plain.tls, plain.window), ("centre.example", 2775, false, 10));
        assert_eq!((plain.system_id.as_str(), plain.password.as_str()), ("me", "p@ss"));
        let full = parsed(
            "smpps://me:pw@[::1]:2776/?window=3&system_type=OTA%20x&enquire_link=500ms&response_timeout=5&reconnect_max=2s&long=payload&alphabet=gsm7-packed&source_ton=5&dest_npi=9",
        );
        assert_eq!((full.host.as_str(), full.port, full.tls, full.window), ("::1", 2776, true, 3));
        assert_eq!((full.enquire_link, full.response_timeout), (Duration::from_millis(500), Duration::from_secs(5)));
        assert_eq!((full.long, full.alphabet, full.source, full.destination), (Long::Payload, Alphabet::Packed, Some((5, 0)), (1, 9)));
        assert_eq!(full.system_type.as_str(), "OTA x");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_the_password() {
        for url in [
            "smtp://a:secretpw@m",
            "smpp://m.example",
            "smpp://user@m.example",
            "smpp://a:secretpw@",
            "smpp://a:secretpassword@m",
            "smpp://auserthatistoolong:secretpw@m",
            "smpp://a:secretpw@m/path",
            "smpp://a:secretpw@m?window=0",
            "smpp://a:secretpw@m?enquire_link=0",
            "smpp://a:secretpw@m?long=x",
            "smpp://a:secretpw@m?windows=5",
        ] {
            let error = SmppSettings::parse("sms.carrier", url).expect_err(url).to_string();
            assert!(error.starts_with("sms.carrier: ") && !error.contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn senders_have_the_type_that_they_look_like() {
        let settings = parsed("smpp://me:pw@m");
        assert_eq!(settings.source_of("+15551230001"), ((1, 1), "15551230001"));
        assert_eq!(settings.source_of("12345"), ((3, 0), "12345"));
        assert_eq!(settings.source_of("Shop"), ((5, 0), "Shop"));
        assert_eq!(settings.source_of(""), ((0, 0), ""));
        assert_eq!(parsed("smpp://me:pw@m?source_ton=6").source_of("12345"), ((6, 0), "12345"));
    }
}
