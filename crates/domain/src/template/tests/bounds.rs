//! Templates and data that mean harm: every rendering ends soon, small, and with the customer's error (needs, incident 17).

use super::*;

/// What stops a template is a number of steps, not a clock: the same on every machine.
fn code(source: &str, data: &str) -> &'static str {
    fails(source, data).code()
}

#[test]
fn endless_templates_stop() {
    for source in [
        "{% for i in 1..100000000 %}x{% endfor %}",
        "{% for i in 1..99999 %}{% for j in 1..99999 %}{% endfor %}{% endfor %}",
        "{% for i in 1..99999 %}{% for j in 1..10 %}{{ i }}{% endfor %}{% endfor %}",
        "{{ range(0, 9223372036854775807)|join }}",
        "{{ range(-9223372036854775807, 9223372036854775807)|length }}",
        "{% set s = 'xxxxxxxxxx' %}{% for i in 1..60 %}{% set s = s ~ s %}{% endfor %}{{ s|length }}",
        "{% set l = [1] %}{% for i in 1..60 %}{% set l = l|merge(l) %}{% endfor %}{{ l|length }}",
        "{% for i in 1..99999 %}{% set x = (1..50000)|reverse %}{% endfor %}",
        "{% for i in 1..9999 %}{{ (1..1000)|map(v => v * 2)|length }}{% endfor %}",
        "{{ (1..99999)|sort((a, b) => b <=> a)|first }}",
        "{{ (1..9999)|map(a => (1..9999)|map(b => a * b)|length)|length }}",
        "{% set s = (1..50000)|join %}{% for i in 1..9999 %}{% if s matches '/(a|1)*x/' %}{% endif %}{% endfor %}",
        "{% set s = (1..50000)|join %}{% for i in 1..9999 %}{{ (s|upper|replace({'1': '2', '3': '4'})|length) > 1 ? '' }}{% endfor %}",
        "{% set s = (1..50000)|join %}{% for i in 1..9999 %}{% if s == s ~ 'x' %}{% endif %}{% endfor %}",
        "{% set x %}{% for i in 1..99999 %}0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789{% endfor %}{% endset %}",
    ] {
        assert_eq!(code(source, "{}"), "template_too_slow", "{source}");
    }
}

#[test]
fn huge_outputs_stop() {
    let text = format!("{{% for i in 1..20000 %}}{}{{% endfor %}}", "x".repeat(1_000));
    assert_eq!(code(&text, "{}"), "template_too_long");
    assert_eq!(code("{% for i in 1..20000 %}{{ data.x }}{% endfor %}", &format!(r#"{{"x":"{}"}}"#, "y".repeat(200))), "template_too_long");
    let big = format!(r#"{{"x":"{}"}}"#, "y".repeat(300_000));
    let error = fails("{{ data.x }}", &big);
    assert_eq!(error, RenderError::TooLong { limit: 262_144 });
    assert!(error.to_string().contains("262144 bytes"), "{error}");
    let table = Template::compile(&[table("data.r", &[("H", "x"), ("I", "x")])]).unwrap();
    let rows = format!(r#"{{"r":[{}0]}}"#, format!(r#"{{"x":"{}"}},"#, "y".repeat(900)).repeat(400));
    assert_eq!(table.render(&input(&rows), Form::Html, &Limits::DEFAULT).unwrap_err().code(), "template_too_long");
}

#[test]
fn marks_do_not_count_as_output() {
    let limits = Limits { max_output_bytes: 10, ..Limits::DEFAULT };
    let template = Template::compile(&[text("{% for i in 1..5 %}{{ data.x }}{{ data.x }}{% endfor %}")]).unwrap();
    let rendered = template.render(&input(r#"{"x":"y"}"#), Form::Raw, &limits);
    assert_eq!(rendered.unwrap().text, "yyyyyyyyyy");
    let template = Template::compile(&[text("{% for i in 1..11 %}{{ data.x }}{% endfor %}")]).unwrap();
    assert_eq!(template.render(&input(r#"{"x":"y"}"#), Form::Raw, &limits).unwrap_err().code(), "template_too_long");
}

#[test]
fn limits_can_be_given_per_rendering() {
    let template = Template::compile(&[text("{% for i in 1..100 %}{% endfor %}ok")]).unwrap();
    let few = Limits { max_steps: 50, ..Limits::DEFAULT };
    assert_eq!(template.render(&input("{}"), Form::Raw, &few), Err(RenderError::TooSlow));
    assert_eq!(template.render(&input("{}"), Form::Raw, &Limits::DEFAULT).unwrap().text, "ok");
}

#[test]
fn deep_values_do_not_exhaust_the_stack() {
    let made = "{% set a = [] %}{% for i in 1..5000 %}{% set a = [a] %}{% endfor %}";
    assert!(fails(made, "{}").to_string().contains("nested more than"));
    let sent = format!(r#"{{"x":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    assert!(fails("{{ data.x }}", &sent).to_string().contains("nested more than"));
    let fine = format!(r#"{{"x":{}{}}}"#, "[".repeat(120), "]".repeat(120));
    assert_eq!(raw("{{ data.x }}{{ data.x == data.x }}", &fine), format!("{}{}1", "[".repeat(120), "]".repeat(120)));
}

#[test]
fn markup_is_read_in_linear_time() {
    for sign in ["*", "**", "_", "`", "[", "[a](", "](", "**a", "*a_", "[a](b ", "\\", "***"] {
        let source = sign.repeat(60_000 / sign.len());
        let rendered = render(&[text(&source)], "{}", Form::Html);
        assert!(rendered.html.is_some_and(|html| html.len() < 3_000_000));
    }
}

#[test]
fn wide_cells_do_not_multiply() {
    let rows = format!(r#"{{"r":[{{"x":"{}"}}{}]}}"#, "y".repeat(50_000), r#",{"x":1}"#.repeat(400));
    let plain = render(&[table("data.r", &[("H", "x")])], &rows, Form::Plain).text;
    assert!(plain.len() < 40_000, "{}", plain.len());
}
