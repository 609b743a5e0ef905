//! Mail relays as people write them: `smtp://user:pass@host:587?tls=required`, `smtps://…`.

use std::fmt;

use http::Uri;

use crate::SettingsError;
use crate::settings::refuse;

/// How the conversation is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RelayTls {
    /// Not at all.
    None,
    /// STARTTLS if the server offers it.
    Opportunistic,
    /// STARTTLS, or no mail.
    Required,
    /// TLS from the first byte (RFC 8314, port 465).
    Wrapper,
}

impl RelayTls {
    fn parse(field: &str, text: &str) -> Result<Self, SettingsError> {
        match text {
            "none" => Ok(Self::None),
            "opportunistic" => Ok(Self::Opportunistic),
            "required" => Ok(Self::Required),
            "wrapper" => Ok(Self::Wrapper),
            _ => Err(refuse(field, "must be one of none, opportunistic, required, wrapper")),
        }
    }
}

/// A mail server and how to talk to it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Relay {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: RelayTls,
    /// User and password.
    pub(crate) login: Option<(String, String)>,
    /// Named by the operator: not vetted, not named to owners of targets, and its failures are this server's.
    pub(crate) trusted: bool,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({:?})", self.host, self.port, self.tls)
    }
}

impl Relay {
    /// Reads a URL; `tls` is the setting beside it, which has the same words as the URL's `tls` parameter.
    ///
    /// By default `smtps` is [`RelayTls::Wrapper`] and `smtp` is [`RelayTls::Required`] where a password is given, else
    /// [`RelayTls::Opportunistic`]; the port is 465, 587 with a password, else 25.
    pub(crate) fn parse(field: &str, text: &str, tls: Option<(&str, &str)>, trusted: bool) -> Result<Self, SettingsError> {
        let uri: Uri = text.parse().map_err(|_| refuse(field, "is not a valid URL such as smtp://mail.example:587"))?;
        let encrypted = match uri.scheme_str() {
            Some("smtp") => false,
            Some("smtps") => true,
            _ => return Err(refuse(field, "must begin with smtp:// or smtps://")),
        };
        let authority = uri.authority().ok_or_else(|| refuse(field, "has no host"))?.as_str();
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(parse_login(field, login)?), address),
            None => (None, authority),
        };
        let host = uri.host().map(|host| host.trim_start_matches('[').trim_end_matches(']')).unwrap_or_default();
        if host.is_empty() {
            return Err(refuse(field, "has no host"));
        }
        let has_port = address.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let port = match uri.port_u16() {
            Some(port) if port > 0 => port,
            None if !has_port => match (encrypted, &login) {
                (true, _) => 465,
                (false, Some(_)) => 587,
                (false, None) => 25,
            },
            _ => return Err(refuse(field, "has an invalid port")),
        };
        if !uri.path().trim_matches('/').is_empty() {
            return Err(refuse(field, "must have nothing after the host and port"));
        }
        let in_url = match uri.query() {
            None => None,
            Some(query) => match query.strip_prefix("tls=") {
                Some(word) => Some((field, word)),
                None => return Err(refuse(field, "knows no parameter but tls")),
            },
        };
        let asked = tls.or(in_url).map(|(field, word)| RelayTls::parse(field, word).map(|tls| (field, tls))).transpose()?;
        let tls = match (encrypted, asked) {
            (true, None | Some((_, RelayTls::Wrapper))) => RelayTls::Wrapper,
            (true, Some((field, _))) => return Err(refuse(field, "must be wrapper for smtps, or left out")),
            (false, Some((field, RelayTls::Opportunistic))) if login.is_some() => {
                return Err(refuse(
                    field,
                    "cannot be opportunistic with a password, which anyone on the way could then ask for in the clear; choose required, wrapper or none",
                ));
            }
            (false, Some((_, tls))) => tls,
            (false, None) if login.is_some() => RelayTls::Required,
            (false, None) => RelayTls::Opportunistic,
        };
        Ok(Self { host: host.to_owned(), port, tls, login, trusted })
    }

    /// How the relay is called before the owner of a target.
    pub(crate) fn label(&self) -> &str {
        if self.trusted { "this server's mail relay" } else { &self.host }
    }
}

pub(crate) fn parse_login(field: &str, text: &str) -> Result<(String, String), SettingsError> {
    let (user, password) = text.split_once(':').ok_or_else(|| refuse(field, "has a user but no password"))?;
    let decode = |part| percent_decode(part).filter(|text| !text.chars().any(char::is_control));
    match (decode(user), decode(password)) {
        (Some(user), Some(password)) if !user.is_empty() => Ok((user, password)),
        _ => Err(refuse(field, "has a user or password that is not properly %-encoded")),
    }
}

/// `%xx` to bytes, which must be UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = (String, u16, RelayTls, Option<(String, String)>);

    fn relay(url: &str, tls: Option<&str>) -> Result<Parts, String> {
        Relay::parse("smtp.url", url, tls.map(|word| ("smtp.tls", word)), false)
            .map(|relay| (relay.host, relay.port, relay.tls, relay.login))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn urls_have_sensible_defaults() {
        let login = Some(("me@a".to_owned(), "p:w".to_owned()));
        assert_eq!(relay("smtp://m.example", None), Ok(("m.example".into(), 25, RelayTls::Opportunistic, None)));
        assert_eq!(relay("smtp://me%40a:p%3Aw@m.example", None), Ok(("m.example".into(), 587, RelayTls::Required, login.clone())));
        assert_eq!(relay("smtps://me%40a:p%3Aw@m.example/", None), Ok(("m.example".into(), 465, RelayTls::Wrapper, login)));
        assert_eq!(relay("smtp://[::1]:2525", Some("none")), Ok(("::1".into(), 2525, RelayTls::None, None)));
        assert_eq!(relay("smtp://m?tls=required", None), Ok(("m".into(), 25, RelayTls::Required, None)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_field() {
        for (url, tls, field) in [
            ("http://m", None, "smtp.url"),
            ("m.example:25", None, "smtp.url"),
            ("smtp://m:0", None, "smtp.url"),
            ("smtp://m:99999", None, "smtp.url"),
            ("smtp://u@m", None, "smtp.url"),
            ("smtp://u:%zz@m", None, "smtp.url"),
            ("smtp://u:%0d%0a@m", None, "smtp.url"),
            ("smtp://m/path", None, "smtp.url"),
            ("smtp://m?x=1", None, "smtp.url"),
            ("smtp://m?tls=x", None, "smtp.url"),
            ("smtp://m", Some("starttls"), "smtp.tls"),
            ("smtps://m", Some("none"), "smtp.tls"),
            ("smtp://u:p@m", Some("opportunistic"), "smtp.tls"),
        ] {
            let error = relay(url, tls).expect_err(url);
            assert!(error.starts_with(&format!("{field}: ")), "{url}: {error}");
        }
    }
}
