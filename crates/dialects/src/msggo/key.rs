//! Where the key may be (MsgGO 3.1): header, path, query, body.

/// The header that may carry the key.
pub const KEY_HEADER: &str = "x-msggo-key";

/// The first place that holds a non-empty value decides, even if what it holds is no good key: mixing keys would hide mistakes and
/// let a stale header act as another account (O-3). Places are given from the highest to the lowest.
pub fn first<const N: usize>(places: [Option<&str>; N]) -> Option<&str> {
    places.into_iter().flatten().find(|value| !value.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Option<&str> = Some("good");
    const BAD: Option<&str> = Some("bad");
    const NONE: Option<&str> = None;

    #[test]
    fn the_highest_place_decides() {
        for (item, places, expected) in [
            ("MSGGO-1", [NONE, GOOD, NONE, NONE], GOOD),
            ("MSGGO-2", [NONE, NONE, GOOD, NONE], GOOD),
            ("MSGGO-3, MSGGO-4, MSGGO-5", [NONE, NONE, NONE, GOOD], GOOD),
            ("MSGGO-6", [GOOD, NONE, NONE, NONE], GOOD),
            ("MSGGO-7", [GOOD, BAD, NONE, NONE], GOOD),
            ("MSGGO-8", [BAD, GOOD, GOOD, GOOD], BAD),
            ("MSGGO-9", [NONE, GOOD, BAD, NONE], GOOD),
            ("MSGGO-9", [NONE, BAD, GOOD, NONE], BAD),
            ("MSGGO-10", [NONE, NONE, GOOD, BAD], GOOD),
            ("MSGGO-10", [NONE, NONE, BAD, GOOD], BAD),
            ("MSGGO-11", [NONE; 4], NONE),
            ("MSGGO-12", [BAD, NONE, NONE, NONE], BAD),
        ] {
            assert_eq!(first(places), expected, "{item}: {places:?}");
        }
    }

    #[test]
    fn an_empty_place_is_no_place() {
        assert_eq!(first([Some(""), Some("  "), GOOD, BAD]), GOOD);
        assert_eq!(first([Some(""), None, Some(" ")]), None);
    }
}
