//! What is refused on save, and the stored form of blocks.

use super::*;

// MSGGO-70
#[test]
fn syntax_errors_are_refused_with_their_place() {
    let rows = [
        ("{% if data.status = 'x' %}a{% endif %}", 1, "compare with \"==\""),
        ("a\nb\n{{ data.x | nofilter }}", 3, "no filter \"nofilter\""),
        ("\n{% if data.x %}", 2, "has no \"{% endif %}\""),
        ("{% for x in data.l %}", 1, "has no \"{% endfor %}\""),
        ("{% endif %}", 1, "does not belong here"),
        ("{% if a %}{% else %}{% else %}{% endif %}", 1, "does not belong here"),
        ("{% if a %}{% endfor %}", 1, "does not belong here"),
        ("{{ data.x", 1, "never closed"),
        ("{{ (1 + 2 }}", 1, "never closed"),
        ("{{ 1 + }}", 1, "unexpected end of the tag"),
        ("{{ 'abc }}", 1, "never closed"),
        ("x {# note", 1, "comment"),
        ("{{ }}", 1, "expected an expression"),
        ("{% %}", 1, "empty tag"),
        ("{{ a b }}", 1, "unexpected \"b\""),
        ("{{ a ] }}", 1, "unexpected \"]\""),
        ("{{ a & b }}", 1, "unexpected character"),
        ("{% elif x %}", 1, "elseif"),
        ("{% frobnicate %}", 1, "no tag \"frobnicate\""),
        ("{% include 'a.html' %}", 1, "cannot read other templates"),
        ("{% extends 'a' %}", 1, "cannot read other templates"),
        ("{% import 'a' as a %}", 1, "cannot read other templates"),
        ("{% from 'a' import b %}", 1, "cannot read other templates"),
        ("{% macro a() %}{% endmacro %}", 1, "not available"),
        ("{{ include('a') }}", 1, "cannot read other templates"),
        ("{{ source('/etc/passwd') }}", 1, "cannot read other templates"),
        ("{{ constant('X') }}", 1, "no function \"constant\""),
        ("{{ data.items() }}", 1, "methods cannot be called"),
        ("{{ a is frobnicated }}", 1, "no test"),
        ("{{ a matches b }}", 1, "literal"),
        ("{{ a matches '/(?=x)/' }}", 1, "look-around"),
        ("{{ a matches '/(/' }}", 1, "not understood"),
        ("{{ a matches 'abc' }}", 1, "delimiters"),
        ("{{ a|map }}", 1, "arrow function"),
        ("{{ a|upper(v => v) }}", 1, "takes no arrow"),
        ("{{ a|slice }}", 1, "needs start"),
        ("{{ a|upper(1) }}", 1, "too many"),
        ("{{ a|round(speed=1) }}", 1, "no argument \"speed\""),
        ("{{ loop.index }}", 1, "inside a \"for\""),
        ("{% for x in [1] %}{{ loop.colour }}{% endfor %}", 1, "no loop.colour"),
        ("{% for x in data.l if x %}{% endfor %}", 1, "not available"),
        ("{% set loop = 1 %}", 1, "cannot be the name"),
        ("{% set a, b = 1 %}", 1, "2 names"),
        ("{{ \"#{a}\" }}", 1, "~"),
        ("{{ _self }}", 1, "not available"),
        ("{% verbatim %}x", 1, "never closed"),
        ("{{ 1e+999 }}", 1, "too large"),
    ];
    for (source, line, reason) in rows {
        let error = refused(source);
        assert_eq!((error.block, error.line), (0, Some(line)), "{source}: {error}");
        assert!(error.reason.contains(reason), "{source}: {error}");
    }
}

#[test]
fn errors_name_block_and_line() {
    let error = Template::compile(&[text("ok"), text("ok\n{{ | }}")]).unwrap_err();
    assert_eq!(error.to_string(), "block 2, line 2: unexpected \"|\", expected an expression");
    let error = Template::compile(&[table("items", &[("A", "a")])]).unwrap_err();
    assert_eq!(error.to_string(), "block 1: the path \"items\" must begin with data, as in data.items");
    for (path, columns) in [("data..x", vec![("A", "a")]), ("data.x()", vec![("A", "a")]), ("data.x", vec![]), ("data.x", vec![("A", "")])]
    {
        assert!(Template::compile(&[table(path, &columns)]).is_err(), "{path}");
    }
}

#[test]
fn sizes_are_bounded() {
    assert!(refused(&"x".repeat(MAX_SOURCE_BYTES + 1)).reason.contains("65536"));
    Template::compile(&[text(&"x".repeat(MAX_SOURCE_BYTES))]).unwrap();
    assert!(Template::compile(&vec![text("a"); MAX_BLOCKS + 1]).is_err());
    assert!(Template::compile(&vec![text(&"x".repeat(MAX_SOURCE_BYTES)); 5]).is_err());
    Template::compile(&[]).unwrap();
}

/// Sources that grow one construct without end: refused or compiled, but never a stack overflow.
#[test]
fn deep_and_long_sources_are_refused() {
    let n = 4_000;
    for source in [
        format!("{{{{ {}1{} }}}}", "(".repeat(n), ")".repeat(n)),
        format!("{{{{ {}1{} }}}}", "[".repeat(n), "]".repeat(n)),
        format!("{{{{ {}1 }}}}", "not ".repeat(n)),
        format!("{{{{ {}1 }}}}", "-".repeat(n)),
        format!("{{{{ 1{} }}}}", "+1".repeat(n)),
        format!("{{{{ 1{} }}}}", " ** 1".repeat(n)),
        format!("{{{{ 1{} }}}}", " ?? 1".repeat(n)),
        format!("{{{{ 1{} }}}}", " ? 1 : 1".repeat(n)),
        format!("{{{{ 1{} }}}}", "|upper".repeat(n)),
        format!("{{{{ a{} }}}}", ".a".repeat(n)),
        format!("{{{{ a{} }}}}", "|map(v => v".repeat(n)),
        format!("{{% if 1 %}}{}{{% endif %}}", "{% elseif 1 %}".repeat(n)),
        format!("{}{}", "{% if 1 %}".repeat(n), "{% endif %}".repeat(n)),
    ] {
        refused(&source);
    }
    // As deep as allowed works.
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(20), ")".repeat(20));
    assert_eq!(raw(&deep, "{}"), "1");
    assert_eq!(raw(&format!("{{{{ 1{} }}}}", "+1".repeat(140)), "{}"), "141");
    let nested = format!("{}x{}", "{% if 1 %}".repeat(20), "{% endif %}".repeat(20));
    assert_eq!(raw(&nested, "{}"), "x");
    let both = format!("{}{{{{ {}1{} }}}}{}", "{% if 1 %}".repeat(20), "[".repeat(20), "]".repeat(20), "{% endif %}".repeat(20));
    assert!(raw(&both, "{}").starts_with("[[["));
}

#[test]
fn blocks_are_stored_as_documented() {
    let stored = r#"[{"kind":"text","text":"Hi"},{"kind":"table","path":"data.items","columns":[{"heading":"Name","field":"name"}]}]"#;
    let blocks: Vec<Block> = serde_json::from_str(stored).unwrap();
    assert_eq!(blocks, [text("Hi"), table("data.items", &[("Name", "name")])]);
    assert_eq!(serde_json::to_string(&blocks).unwrap(), stored);
    assert!(serde_json::from_str::<Block>(r#"{"kind":"text","text":"a","size":1}"#).is_err());
    assert!(serde_json::from_str::<Block>(r#"{"kind":"script","text":"a"}"#).is_err());
}

/// Compiled templates are shared between threads.
#[test]
fn templates_are_send_and_sync() {
    fn shared<T: Send + Sync>() {}
    shared::<Template>();
}
