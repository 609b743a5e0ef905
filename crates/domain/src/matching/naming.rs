//! Names of event definitions, and the rule that a name alone gives.

use serde_json::{Map, Value};
use thiserror::Error;

use super::Rule;

/// Fewest characters of the name of an event definition (MsgGO).
pub const MIN_EVENT_NAME: usize = 3;
/// Most characters of the name of an event definition (MsgGO).
pub const MAX_EVENT_NAME: usize = 255;

/// Why a name cannot be the name of an event definition. Lengths are Unicode characters without outer whitespace.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EventNameError {
    /// Fewer than [`MIN_EVENT_NAME`] characters.
    #[error("name: {length} characters are too few, at least {MIN_EVENT_NAME} are needed")]
    TooShort {
        /// Characters found.
        length: usize,
    },
    /// More than [`MAX_EVENT_NAME`] characters.
    #[error("name: {length} characters are too many, at most {MAX_EVENT_NAME} are allowed")]
    TooLong {
        /// Characters found.
        length: usize,
    },
}

/// Checks the length of an event definition's name, outer whitespace not counted.
///
/// # Errors
///
/// [`EventNameError`] with the length that was found.
pub fn check_event_name(name: &str) -> Result<(), EventNameError> {
    match name.trim().chars().count() {
        length if length < MIN_EVENT_NAME => Err(EventNameError::TooShort { length }),
        length if length > MAX_EVENT_NAME => Err(EventNameError::TooLong { length }),
        _ => Ok(()),
    }
}

/// The form of a name that senders write: lower case, Latin, Greek and Cyrillic letters transliterated to ASCII,
/// `[a-z0-9_-]` kept, every run of anything else one `-`, no `-` at the ends.
///
/// A run swallows the hyphens beside it (`Orders - Paid` is `orders-paid`). Empty when nothing of the name can be kept.
#[must_use]
pub fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    let mut in_run = false;
    for character in name.trim().chars().flat_map(char::to_lowercase) {
        match character {
            '-' if in_run => {}
            'a'..='z' | '0'..='9' | '_' | '-' => {
                slug.push(character);
                in_run = false;
            }
            // Combining marks of decomposed letters: the letter itself was kept.
            '\u{300}'..='\u{36f}' => {}
            other => match transliterate(other) {
                Some(ascii) => {
                    slug.push_str(ascii);
                    in_run = in_run && ascii.is_empty();
                }
                None => {
                    if !in_run && !slug.ends_with('-') {
                        slug.push('-');
                    }
                    in_run = true;
                }
            },
        }
    }
    slug.trim_matches('-').to_owned()
}

/// The rule that a new definition gets from its name: `event_name` equals the [`slug`].
///
/// A name of which no character survives in a slug (Chinese, say) stands for itself, so that two such definitions do
/// not share an empty rule.
#[must_use]
pub fn default_rule(name: &str) -> Rule {
    let slug = slug(name);
    let text = if slug.is_empty() { name.trim().to_owned() } else { slug };
    let mut object = Map::new();
    object.insert("event_name".to_owned(), Value::String(text));
    Rule::from_object(object)
}

fn transliterate(letter: char) -> Option<&'static str> {
    LETTERS.iter().find(|(letters, _)| letters.contains(letter)).map(|&(_, ascii)| ascii)
}

/// Lower-case letters and their ASCII spelling. A letter that stands in two scripts has its own code point in each.
const LETTERS: &[(&str, &str)] = &[
    // Latin, with the letters of European languages, Turkish and Vietnamese.
    ("àáâãäåāăąǎạảấầẩẫậắằẳẵặª", "a"),
    ("æǽ", "ae"),
    ("çćĉċč", "c"),
    ("ðďđ", "d"),
    ("èéêëēĕėęěẹẻẽếềểễệ", "e"),
    ("ƒ", "f"),
    ("ĝğġģǧ", "g"),
    ("ĥħ", "h"),
    ("ìíîïĩīĭįıǐịỉ", "i"),
    ("ĳ", "ij"),
    ("ĵ", "j"),
    ("ķĸ", "k"),
    ("ĺļľŀł", "l"),
    ("ñńņňŉŋ", "n"),
    ("òóôõöøōŏőơǒọỏốồổỗộớờởỡợº", "o"),
    ("œ", "oe"),
    ("ŕŗř", "r"),
    ("śŝşšșſ", "s"),
    ("ßẞ", "ss"),
    ("ţťŧț", "t"),
    ("þ", "th"),
    ("ùúûüũūŭůűųưǔụủứừửữự", "u"),
    ("ŵ", "w"),
    ("ýÿŷỳỵỷỹ", "y"),
    ("źżž", "z"),
    // Greek.
    ("αά", "a"),
    ("β", "v"),
    ("γ", "g"),
    ("δ", "d"),
    ("εέ", "e"),
    ("ζ", "z"),
    ("ηήιίϊΐ", "i"),
    ("θ", "th"),
    ("κ", "k"),
    ("λ", "l"),
    ("μµ", "m"),
    ("ν", "n"),
    ("ξ", "x"),
    ("οόωώ", "o"),
    ("π", "p"),
    ("ρ", "r"),
    ("σς", "s"),
    ("τ", "t"),
    ("υύϋΰ", "y"),
    ("φ", "f"),
    ("χ", "ch"),
    ("ψ", "ps"),
    // Cyrillic: Russian, Ukrainian, Belarusian, Bulgarian, Serbian, Macedonian.
    ("а", "a"),
    ("б", "b"),
    ("в", "v"),
    ("гґѓ", "g"),
    ("д", "d"),
    ("еэ", "e"),
    ("ё", "yo"),
    ("є", "ye"),
    ("ж", "zh"),
    ("з", "z"),
    ("иі", "i"),
    ("ї", "yi"),
    ("йы", "y"),
    ("ј", "j"),
    ("кќ", "k"),
    ("л", "l"),
    ("љ", "lj"),
    ("м", "m"),
    ("н", "n"),
    ("њ", "nj"),
    ("о", "o"),
    ("п", "p"),
    ("р", "r"),
    ("с", "s"),
    ("т", "t"),
    ("уў", "u"),
    ("ф", "f"),
    ("х", "kh"),
    ("ц", "ts"),
    ("чћ", "ch"),
    ("ш", "sh"),
    ("щ", "shch"),
    ("ђ", "dj"),
    ("џѕ", "dz"),
    ("ъь", ""),
    ("ю", "yu"),
    ("я", "ya"),
];
