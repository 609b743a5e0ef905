//! The entry points of the fuzzers (`fuzz/entries`), driven by pieces of their languages in any order.

#[path = "../../../fuzz/entries/filter.rs"]
mod filter;
#[path = "../../../fuzz/entries/mail.rs"]
mod mail;
#[path = "../../../fuzz/entries/signature.rs"]
mod signature;
#[path = "../../../fuzz/entries/smpp_receipt.rs"]
mod smpp_receipt;
#[path = "../../../fuzz/entries/template.rs"]
mod template;
#[path = "../../../fuzz/entries/velocity.rs"]
mod velocity;

use proptest::prelude::*;

/// The fields of an input, parted as the entry points want it.
fn join(fields: &[&[u8]]) -> Vec<u8> {
    fields.join(&b"\xFF"[..])
}

/// Bytes made of these words and now and then of others.
fn soup(words: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let stray = prop::collection::vec(any::<u8>(), 0..3);
    prop::collection::vec(prop_oneof![12 => word, 1 => stray], 0..most).prop_map(|words| words.concat())
}

const PAGE: &[&str] = &[
    "<a ",
    "<area ",
    "href=",
    "href",
    "=",
    "\"",
    "'",
    "http://x.example/?a&amp;b",
    "https://é",
    " ",
    "\r\n",
    "\n",
    ">",
    "</a>",
    "<!--",
    "-->",
    "<script>",
    "</script>",
    "disable-tracking=true",
    "&lt;",
    "&",
    "\0",
    "<",
    "/",
    "(",
    ")",
    ".",
    "<title>",
    "</title>",
    "</body>",
    "</html>",
];

const ADDRESSES: &[&str] = &["ann@x.example", "Ann ", "<", ">", "\"", "\\", ",", " ", "@", ".", "é", "b@c", "\r\n"];

const MAIL: &[&str] = &["From", ":", " ", "=?utf-8?Q?", "=?utf-8?B?", "?=", "=C3=A9", "w6k=", "\r\n", "\t", "_", "{\"a\":1}"];

const TWIG: &[&str] = &[
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "{# ",
    " #}",
    "{%- ",
    " -%}",
    "if ",
    "else",
    "elseif ",
    "endif",
    "for ",
    "x in ",
    "endfor",
    "set ",
    "x = ",
    "endset",
    "data",
    ".items",
    ".n",
    "[0]",
    "['d-x']",
    "event.name",
    "event.receivedAt",
    "loop.index",
    "|upper",
    "|json_encode",
    "|default('d')",
    "|join(', ')",
    "|raw",
    "|date('Y/m/d')",
    "|number_format(2)",
    "|slice(1, 2)",
    "|split('')",
    "|format(1)",
    "|map(v => v)",
    "|replace({'a': 'b'})",
    " ~ ",
    " ?? ",
    " and ",
    " not ",
    " in ",
    " is defined",
    " is empty",
    " matches '/^a+$/'",
    " starts with 'a'",
    "1..3",
    "(",
    ")",
    "'text'",
    "1",
    "2.50",
    "true",
    "null",
    " + ",
    " * ",
    " / 0",
    " % ",
    " ? 'a' : 'b'",
    "**",
    "_",
    "`",
    "[a](https://example.com)",
    "](javascript:x)",
    "<script>",
    "&",
    "\n",
    "- ",
    "```",
    "@everyone",
    "é🚀",
];

const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"n\"",
    "\"items\"",
    "\"<script>\"",
    "\"**b**\"",
    "\"\\ud83d\\ude80\"",
    "\"\\ud800\"",
    "1",
    "-0",
    "2.50",
    "1e400",
    "true",
    "null",
    " ",
    "\"$and\"",
    "\"$or\"",
    "\"$not\"",
    "\"$eq\"",
    "\"$ne\"",
    "\"$gt\"",
    "\"$lte\"",
    "\"$in\"",
    "\"$exists\"",
    "\"$prefix\"",
    "\"$contains\"",
    "\"n.x[0]\"",
    "\"[\\\"a.b\\\"]\"",
    "\"event_name\"",
    "\"100\"",
];

const WEBHOOK: &[&str] = &[
    "whsec_",
    "whsk_",
    "whpk_",
    "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
    "=",
    "msg_1",
    ".",
    "v1,",
    "v1a,",
    "v2,",
    " ",
    ",",
    "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    "1614265330",
    "-",
    "{}",
    "é",
];

const RECEIPT: &[&str] = &[
    "id:",
    "ID :",
    "sub:001 ",
    "dlvrd:",
    "submit date:2511211907 ",
    "done_date:",
    "stat:",
    "DELIVRD",
    "UNDELIV",
    "EXPIRED ",
    "err:000 ",
    "err:",
    "text:",
    "0123456789 ",
    "a-b",
    " ",
    "STOP",
    "\u{5}\0\u{3}\u{7}\u{2}\u{1}",
    "\u{5}\0\u{3}\u{7}\u{2}\u{2}",
    "\u{6}\u{8}\u{4}\u{1}\u{2}\u{2}\u{1}",
    "\u{1b}e",
    "é🚀",
    "€",
    "\r",
];

const VTL: &[&str] = &[
    "$mtId",
    "$!undef",
    "${metadata.key1}",
    "$metadata.get('key2')",
    "$metadata.keySet()",
    "$metadata.entrySet()",
    "$moContent",
    "$esc.json(",
    "$esc.url($x)",
    "#if(",
    "#elseif(",
    "#else",
    "#{else}",
    "#end",
    "#set($x = ",
    "#foreach($x in ",
    "#break",
    "#stop",
    "#nope(",
    "#include('a')",
    "$foreach.hasNext",
    "$velocityCount",
    ".substring(1, 3)",
    ".replaceAll('(a|.)*', '$0')",
    ".split('')",
    ".toUpperCase()",
    ".size()",
    "[1..9]",
    "[$x, $x]",
    "{'a': $x}",
    "[0]",
    "\"$x$x\"",
    "\"",
    "'",
    "(",
    ")",
    " == ",
    " && ",
    "!",
    " + ",
    " / 0",
    "-1",
    "1.5e3",
    "true",
    "\\",
    "#*",
    "*#",
    "#[[",
    "]]#",
    "##",
    "\n",
    " ",
    "é🚀",
    "\\u00e9",
];

/// A Velocity template that parses more often than [`VTL`] in any order.
fn velocity_template() -> impl Strategy<Value = Vec<u8>> {
    let atoms =
        &["$x", "$!mtId", "$metadata", "$metadata.keySet()", "$moContent", "1", "2.5", "'a'", "\"$x$x\"", "[1..5]", "[$x, $x]", "true"][..];
    let methods =
        &["", "", "", ".size()", ".length()", ".split('')", ".substring(1)", ".replaceAll('.', '$0$0')", ".get('key1')", "[0]"][..];
    let atom = (prop::sample::select(atoms), prop::sample::select(methods)).prop_map(|(atom, method)| match atom.starts_with('$') {
        true => format!("{atom}{method}"),
        false => atom.to_owned(),
    });
    let operators = &[" == ", " + ", " - ", " * ", " / ", " % ", " < ", " && ", " || "][..];
    let expression = prop_oneof![
        3 => atom.clone(),
        1 => (atom.clone(), prop::sample::select(operators), atom.clone()).prop_map(|(left, operator, right)| format!("({left}{operator}{right})")),
    ];
    let elements = atom.clone();
    let text = prop::sample::select(&["a", "\n", "\\", "$5", "#1", "$esc.json($x)", "$foreach.count", "#break", "  ", "é"][..]);
    let piece = prop_oneof![2 => text.prop_map(str::to_owned), 1 => atom];
    let piece = piece.prop_recursive(3, 24, 4, move |inner| {
        let some = prop::collection::vec(inner, 0..4).prop_map(|pieces| pieces.concat());
        prop_oneof![
            (expression.clone(), some.clone()).prop_map(|(made, inner)| format!("#if({made}){inner}#{{else}}-#end")),
            (elements.clone(), some.clone()).prop_map(|(made, inner)| format!("#foreach($x in {made}){inner}#end")),
            (expression.clone(), some).prop_map(|(made, inner)| format!("#set($x = {made}){inner}")),
        ]
    });
    let pieces = prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat().into_bytes());
    prop_oneof![4 => pieces, 1 => soup(VTL, 24)]
}

/// A template that compiles more often than [`TWIG`] in any order.
fn template() -> impl Strategy<Value = Vec<u8>> {
    let atoms = &[
        "data",
        "data.n",
        "data.items",
        "data.items[0].x",
        "event.name",
        "event.receivedAt",
        "x",
        "loop",
        "[1, 'a']",
        "{'a': data}",
        "1..9",
        "-2.5",
        "null",
        "''",
    ][..];
    let filters = &[
        "",
        "",
        "|upper",
        "|json_encode",
        "|default('d')",
        "|join(', ')",
        "|raw",
        "|date('Y/m/d')",
        "|number_format(2)",
        "|slice(-1, 2)",
        "|split('')",
        "|length",
        "|first",
        "|reverse",
        "|sort",
        "|keys",
        "|merge([1])",
        "|nl2br",
        "|url_encode",
        "|striptags",
        "|abs",
        "|round",
        "|format(1)",
        "|title",
        "|map(v => v)",
        "|filter(v => v)",
        "|replace({'a': 'bb'})",
        " ~ data",
        " is defined",
        " is empty",
        " matches '/^(a+)+$/'",
        " in data",
        " + 1",
        " * data.n",
        " ? 'a' : data",
        " ?? 'z'",
        " == 1",
    ][..];
    let expression = (prop::sample::select(atoms), prop::collection::vec(prop::sample::select(filters), 0..4))
        .prop_map(|(atom, filters)| format!("{atom}{}", filters.concat()));
    let marks =
        &["**", "_", "`", "[a](https://e.example)", "](javascript:x)", "<script>", "&amp;", "\n", "- ", "```", "@everyone", "é🚀", " "][..];
    let piece =
        prop_oneof![prop::sample::select(marks).prop_map(str::to_owned), expression.clone().prop_map(|made| format!("{{{{ {made} }}}}"))];
    let piece = piece.prop_recursive(3, 24, 4, move |inner| {
        let some = prop::collection::vec(inner, 0..4).prop_map(|pieces| pieces.concat());
        prop_oneof![
            (expression.clone(), some.clone()).prop_map(|(made, inner)| format!("{{% if {made} %}}{inner}{{% else %}}**{{% endif %}}")),
            (expression.clone(), some.clone()).prop_map(|(made, inner)| format!("{{% for x in {made} %}}{inner}{{% endfor %}}")),
            (expression.clone(), some.clone()).prop_map(|(made, inner)| format!("{{% set x = {made} %}}{inner}")),
            some.prop_map(|inner| format!("{{% set x %}}{inner}{{% endset %}}{{{{ x }}}}")),
        ]
    });
    let pieces = prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat().into_bytes());
    prop_oneof![4 => pieces, 1 => soup(TWIG, 24)]
}

/// A document, more often than [`JSON`] in any order.
fn json() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("1.0".to_owned()),
        any::<i32>().prop_map(|n| n.to_string()),
        prop::sample::select(&["\"a\"", "\"100\"", "\"<script>\"", "\"*b*\"", "true"][..]).prop_map(str::to_owned)
    ];
    let names = &["n", "items", "x", "event_name", "$and", "$or", "$not", "$gt", "$in", "$exists", "$prefix", "$contains", "n.x[0]"][..];
    let value = leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((prop::sample::select(names), inner), 0..4).prop_map(|fields| {
                let fields: Vec<String> = fields.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", fields.join(","))
            })
        ]
    });
    prop_oneof![4 => value.prop_map(String::into_bytes), 1 => soup(JSON, 20)]
}

proptest! {
    #[test]
    fn receipts(data in prop::collection::vec(soup(RECEIPT, 30), 1..6)) {
        smpp_receipt::check(&join(&data.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    }

    #[test]
    fn templates_render_within_bounds_or_are_refused(source in template(), data in json(), path in soup(&["data", ".items", ".n"], 3), field in "[a-z.<]{0,4}") {
        template::check(&join(&[&source, &data, &path, field.as_bytes()]));
    }

    #[test]
    fn velocity_templates_render_within_bounds_or_are_refused(source in velocity_template(), value in soup(VTL, 4)) {
        velocity::check(&join(&[&source, &value]));
    }

    #[test]
    fn mail_keeps_everything_but_its_links(page in soup(PAGE, 30), addresses in soup(ADDRESSES, 12), mail in soup(MAIL, 12)) {
        mail::check(&join(&[&page, &page, &addresses, &mail, &page]));
    }

    #[test]
    fn filters_and_rules_decide_every_document(condition in json(), document in json(), name in "\\PC{0,20}") {
        filter::check(&join(&[&condition, &document, name.as_bytes()]));
    }

    #[test]
    fn no_strangers_bytes_pass_for_signed(secret in soup(WEBHOOK, 3), id in soup(WEBHOOK, 2), time in soup(WEBHOOK, 2), signature in soup(WEBHOOK, 8), body in prop::collection::vec(any::<u8>(), 0..40)) {
        signature::check(&join(&[&secret, &id, &time, &signature, &body]));
    }

    #[test]
    fn bytes_without_any_order_harm_nothing(data in prop::collection::vec(any::<u8>(), 0..200)) {
        template::check(&data);
        velocity::check(&data);
        filter::check(&data);
        signature::check(&data);
        smpp_receipt::check(&data);
    }
}
