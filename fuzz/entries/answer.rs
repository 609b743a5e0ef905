//! Bytes as what a receiver sends back over HTTP/1.1; the first says into what pieces they are cut.

use super::framing::{Framing, Malformed, Parsed, parse};

/// What was read out of an answer.
#[derive(Debug, PartialEq)]
struct Read {
    status: u16,
    content: Vec<u8>,
    is_over: bool,
    /// Whether its connection would be used again, and for what comes after these bytes.
    keeps: Option<usize>,
}

/// However an answer is cut into pieces, what is read out of it is the same; nothing is read twice or left out; and a connection is used again only
/// behind an answer that ended by itself.
pub fn check(data: &[u8]) {
    let Some((&cut, answer)) = data.split_first() else { return };
    let whole = read(answer, answer.len().max(1));
    for piece in [1, usize::from(cut) + 1] {
        assert_eq!(read(answer, piece), whole, "in pieces of {piece}");
    }
    let Ok(Some(Read { status, content, is_over, keeps })) = whole else { return };
    assert!((100..=999).contains(&status) && content.len() <= answer.len());
    if let Some(used) = keeps {
        assert!(is_over && used <= answer.len());
        // What follows belongs to the next answer, and changes nothing of this one.
        let alone = read(&answer[..used], used.max(1));
        assert_eq!(alone, Ok(Some(Read { status, content, is_over, keeps })));
    }
}

/// Reads an answer that comes in pieces; `None` while its head is not here.
fn read(answer: &[u8], piece: usize) -> Result<Option<Read>, Malformed> {
    let (mut here, mut used, mut found) = (Vec::new(), 0, None::<(u16, Framing, bool)>);
    let mut content = Vec::new();
    for bytes in answer.chunks(piece) {
        here.extend_from_slice(bytes);
        loop {
            let taken = match &mut found {
                None => match parse(&here)? {
                    Parsed::Partial => break,
                    Parsed::Interim(length) => length,
                    Parsed::Head { length, head, body, keeps } => {
                        found = Some((head.status, body, keeps));
                        length
                    }
                },
                Some((_, body, _)) if here.is_empty() || body.is_over() => break,
                Some((_, body, _)) => {
                    let (taken, last) = body.take(&here)?;
                    assert!(last <= taken && taken <= here.len());
                    content.extend_from_slice(&here[taken - last..taken]);
                    taken
                }
            };
            used += taken;
            here.drain(..taken);
        }
    }
    Ok(found.map(|(status, body, keeps)| {
        let is_over = body.is_over();
        Read { status, content, is_over, keeps: (keeps && is_over).then_some(used) }
    }))
}
