//! "Did you mean …?"

/// The known name that a mistyped one resembles: equal but for case and separators, or at most a third of it (and no more than three
/// letters) different.
pub(crate) fn closest<'n>(typed: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |text: &str| -> Vec<char> {
        text.chars().take(64).filter(|c| !matches!(c, '_' | '-' | ' ' | '.')).flat_map(char::to_lowercase).collect()
    };
    let typed = plain(typed);
    let allowed = (typed.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| (distance(&typed, &plain(name)), name))
        .filter(|(d, _)| *d <= allowed)
        .min_by_key(|(d, _)| *d)
        .map(|(_, name)| name)
}

/// Appends "; did you mean …?" or the list of what is known.
pub(crate) fn suggestion(typed: &str, known: &[&str]) -> String {
    match closest(typed, known.iter().copied()) {
        Some(name) => format!("; did you mean \"{name}\"?"),
        None if known.is_empty() => String::new(),
        None => format!("; known are {}", known.join(", ")),
    }
}

/// Edits between two words: insert, delete, replace, swap of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["name", "channel", "settings", "target_id"];
        assert_eq!(closest("chanel", known), Some("channel"));
        assert_eq!(closest("targetId", known), Some("target_id"));
        assert_eq!(closest("naem", known), Some("name"));
        assert_eq!(closest("colour", known), None);
        assert_eq!(suggestion("colour", &known), "; known are name, channel, settings, target_id");
    }
}
