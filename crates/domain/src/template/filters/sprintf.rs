//! The filter `format`: PHP's `sprintf` with the conversions `s d i u f F e E x X o b`, flags, width and precision.

use minijinja::value::Value;

use super::Body;
use crate::template::ops;
use crate::template::run::Run;
use crate::template::value::{self, Fault};

pub(super) const BODIES: &[(&str, Body)] = &[("format", Body::Plain(format))];

/// Widest field and longest precision.
const MAX_WIDTH: usize = 1_000;

struct Conversion {
    left: bool,
    plus: bool,
    pad: char,
    width: usize,
    precision: Option<usize>,
}

fn format(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let pattern = value::text(&args[0], &run.meter)?;
    let mut out = String::new();
    let mut next = 1;
    let mut rest = &*pattern;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let place = take_place(&mut rest);
        let conversion = take_flags(&mut rest)?;
        let kind = rest.chars().next().ok_or_else(|| Fault::bad("the format ends in the middle of a \"%\""))?;
        rest = &rest[kind.len_utf8()..];
        let index = place.unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        let arg = args.get(index).filter(|_| index > 0);
        let arg = arg.ok_or_else(|| Fault::bad(format!("the format has no value for its \"%{kind}\"")))?;
        run.meter.take(conversion.width + conversion.precision.unwrap_or(0))?;
        out.push_str(&convert(run, kind, arg, &conversion)?);
    }
    out.push_str(rest);
    Ok(out.into())
}

/// `2$`: which argument, from 1.
fn take_place(rest: &mut &str) -> Option<usize> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let place = rest[..digits].parse().ok()?;
    *rest = rest[digits..].strip_prefix('$')?;
    Some(place)
}

fn take_number(rest: &mut &str) -> Result<Option<usize>, Fault> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Ok(None);
    }
    let number: usize = rest[..digits].parse().unwrap_or(usize::MAX);
    if number > MAX_WIDTH {
        return Err(Fault::bad(format!("a format width is at most {MAX_WIDTH}")));
    }
    *rest = &rest[digits..];
    Ok(Some(number))
}

fn take_flags(rest: &mut &str) -> Result<Conversion, Fault> {
    let mut found = Conversion { left: false, plus: false, pad: ' ', width: 0, precision: None };
    loop {
        let mut chars = rest.chars();
        match chars.next() {
            Some('-') => found.left = true,
            Some('+') => found.plus = true,
            Some('0') => found.pad = '0',
            Some(' ') => found.pad = ' ',
            Some('\'') => found.pad = chars.next().unwrap_or(' '),
            _ => break,
        }
        *rest = chars.as_str();
    }
    found.width = take_number(rest)?.unwrap_or(0);
    if let Some(after) = rest.strip_prefix('.') {
        *rest = after;
        found.precision = Some(take_number(rest)?.unwrap_or(0));
    }
    Ok(found)
}

fn convert(run: &Run, kind: char, arg: &Value, how: &Conversion) -> Result<String, Fault> {
    let places = how.precision.unwrap_or(6).min(40);
    let signed = |text: String| if how.plus && !text.starts_with('-') { format!("+{text}") } else { text };
    let body = match kind {
        's' => {
            let text = value::text(arg, &run.meter)?;
            match how.precision {
                Some(most) => text.chars().take(most).collect(),
                None => text.into_owned(),
            }
        }
        'd' | 'i' => signed(ops::number(arg)?.int().to_string()),
        'u' => (ops::number(arg)?.int() as u64).to_string(),
        'f' | 'F' => signed(format!("{:.places$}", ops::number(arg)?.float())),
        'e' | 'E' => {
            let text = format!("{:.places$e}", ops::number(arg)?.float());
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let sign = if exponent.starts_with('-') { "" } else { "+" };
            signed(format!("{mantissa}{kind}{sign}{exponent}"))
        }
        'x' => format!("{:x}", ops::number(arg)?.int()),
        'X' => format!("{:X}", ops::number(arg)?.int()),
        'o' => format!("{:o}", ops::number(arg)?.int()),
        'b' => format!("{:b}", ops::number(arg)?.int()),
        other => return Err(Fault::bad(format!("the format has an unknown \"%{other}\""))),
    };
    let missing = how.width.saturating_sub(body.chars().count());
    let padding: String = std::iter::repeat_n(how.pad, missing).collect();
    Ok(if how.left {
        // Zeros after a number would change it.
        let padding = if how.pad == '0' && kind != 's' { " ".repeat(missing) } else { padding };
        body + &padding
    } else if how.pad == '0' && body.starts_with(['-', '+']) {
        format!("{}{padding}{}", &body[..1], &body[1..])
    } else {
        padding + &body
    })
}
