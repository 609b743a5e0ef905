//! Looking for text in documents.

/// What is looked for, and how.
pub(crate) struct Needle {
    bytes: Vec<u8>,
}

impl Needle {
    /// Small and capital letters of ASCII are the same.
    pub(crate) fn new(text: &str) -> Self {
        Self { bytes: text.to_ascii_lowercase().into_bytes() }
    }

    /// Whether a document has it in it.
    pub(crate) fn is_in(&self, document: &[u8]) -> bool {
        let Some((first, rest)) = self.bytes.split_first() else { return true };
        let (small, capital) = (*first, first.to_ascii_uppercase());
        let Some(last_start) = document.len().checked_sub(self.bytes.len()) else { return false };
        let is_at = |at: usize| document[at + 1..=at + rest.len()].eq_ignore_ascii_case(rest);
        (0..=last_start).any(|at| (document[at] == small || document[at] == capital) && is_at(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_wherever_it_is() {
        let is_in = |text: &str, document: &str| Needle::new(text).is_in(document.as_bytes());
        for (text, document) in [("ab", "AB"), ("ab", "aab"), ("Ab", "xaB"), ("", ""), ("ö", "schön"), ("a", "a")] {
            assert!(is_in(text, document), "{text} in {document}");
        }
        for (text, document) in [("ab", "a"), ("ab", "a b"), ("abc", "ab"), ("Ö", "schön"), ("a", "")] {
            assert!(!is_in(text, document), "{text} in {document}");
        }
    }
}
