//! The Twig language: variables, operators, statements, white space and filters.

use super::*;

/// Each row: template, data, output.
fn check(rows: &[(&str, &str, &str)]) {
    for (source, data, expected) in rows {
        assert_eq!(raw(source, data), *expected, "{source} over {data}");
    }
}

// MSGGO-67
#[test]
fn variables() {
    check(&[
        ("{{ event.name }} {{event.receivedAt}}", "{}", "Order received 2024/05/06 07:08:09"),
        ("{{ data.a.b.c }}", r#"{"a":{"b":{"c":7}}}"#, "7"),
        ("{{ data }}", r#"{"a":[1,{"b":null}]}"#, r#"{"a":[1,{"b":null}]}"#),
        ("{{ data.list.1 }}{{ data.list[0] }}{{ data.list['1'] }}", r#"{"list":["a","b"]}"#, "bab"),
        ("{{ data.rows.0.1 }}", r#"{"rows":[[1,2]]}"#, "2"),
        ("{{ data[data.key] }}", r#"{"key":"k","k":"v"}"#, "v"),
        ("{{ data.not }}{{ data.in }}{{ data.loop }}{{ data.if }}", r#"{"not":1,"in":2,"loop":3,"if":4}"#, "1234"),
        ("{{ data.größe }}", r#"{"größe":"XL"}"#, "XL"),
    ]);
}

// MSGGO-68 MSGGO-71: the reference table of specification 6.1, row by row.
#[test]
fn reference_results() {
    let items = r#"{"items":[{"name":"Product A"},{"name":"Product B"}],"user":{"firstname":"Ann"},"message":"héllo","n":3,"d-x":"dash"}"#;
    check(&[
        ("{% for item in data.items %}\n- {{ item.name }}\n{% endfor %}", items, "- Product A\n- Product B\n"),
        ("{% set greeting = 'Hello' %}\n{% set name = data.user.firstname %}\n{{ greeting }}, {{ name }}!", items, "Hello, Ann!"),
        ("{{ data.message|upper }}", items, "HÉLLO"),
        ("{{ data.message | upper }}", items, "HÉLLO"),
        ("[{{ data.missing }}][{{ data.missing.deep }}][{{ data.missing|default('none') }}]", items, "[][][none]"),
        ("[{{ true }}][{{ false }}][{{ null }}][{{ 2.50 }}]", items, "[1][][][2.5]"),
        ("{{ data.n > 2 ? 'many' : 'few' }} {{ data.n ~ ' items' }}", items, "many 3 items"),
        ("{% for i in 1..3 %}{{ loop.index }}/{{ loop.length }}{{ not loop.last ? ',' }}{% endfor %}", items, "1/3,2/3,3/3"),
        ("{% for x in [] %}a{% else %}empty{% endfor %}", items, "empty"),
        ("{{ data['d-x'] }} {{ data.items[0].name }} {{ data.items|length }}", items, "dash Product A 2"),
        ("{{ data|json_encode }}", r#"{"u":"a/b","e":"é","q":"\""}"#, r#"{"u":"a/b","e":"é","q":"\""}"#),
        ("{{ data.user | json_encode }}", items, r#"{"firstname":"Ann"}"#),
        ("{% if data.n == 3 %}yes{% else %}no{% endif %}", items, "yes"),
        ("{% if data.n == 4 %}yes{% else %}no{% endif %}", items, "no"),
    ]);
}

// MSGGO-69
#[test]
fn missing_is_empty() {
    check(&[
        ("[{{ nobody }}][{{ nobody.at.home }}][{{ data.a[3].b }}]", r#"{"a":[1]}"#, "[][][]"),
        ("[{{ data.s.x }}][{{ data.n.x }}][{{ data.z.x }}]", r#"{"s":"text","n":5,"z":null}"#, "[][][]"),
        ("{% for x in data.nope %}a{% else %}none{% endfor %}", "{}", "none"),
        ("{% if data.nope %}a{% else %}b{% endif %}", "{}", "b"),
        ("{{ data.nope ~ 'x' }}{{ data.nope + 1 }}{{ data.nope|upper }}{{ data.nope|length }}", "{}", "x10"),
        ("{{ data.a ?? data.b ?? 'c' }}{{ data.a ?: 'd' }}", "{}", "cd"),
        ("{{ data.nope is defined ? 1 : 2 }}{{ data.null is defined ? 1 : 2 }}", r#"{"null":null}"#, "21"),
    ]);
}

// MSGGO-71
#[test]
fn white_space() {
    check(&[
        ("a\n{# note #}\nb", "{}", "a\nb"),
        ("{{ 1 }}\n{{ 2 }}\n", "{}", "1\n2\n"),
        ("{% if true %}\r\nx\r\n{% endif %}\r\ny", "{}", "x\ny"),
        ("{% if true %}\n\nx{% endif %}", "{}", "\nx"),
        ("a  {%- if true -%}  b  {%- endif -%}  c", "{}", "abc"),
        ("a \n {{- 1 -}} \n b", "{}", "a1b"),
        ("a \n {{~ 1 ~}} \n b", "{}", "a \n1\n b"),
        ("a {#- note -#} b", "{}", "ab"),
        ("{% verbatim %}\n{{ x }}{% if %}{% endverbatim %}\n!", "{}", "{{ x }}{% if %}!"),
        ("{ {{- 1 }} { } {{ '{{' }}", "{}", "{1 { } {{"),
        ("", "{}", ""),
        ("plain\n", "{}", "plain\n"),
    ]);
}

#[test]
fn operators() {
    check(&[
        (
            "{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }}",
            "{}",
            "7 9 3.5 3 3 -4 1 -1",
        ),
        ("{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 2 ** -1 }} {{ 10 - 2 - 3 }}", "{}", "512 4 0.5 5"),
        ("{{ 0.1 + 0.2 }} {{ 1e+3 }} {{ 1.5e+30 }} {{ 9223372036854775807 + 1 }}", "{}", "0.3 1000 1.5E+30 9.22337203685478E+18"),
        ("{{ '2' + '3.5' }} {{ '4' * 2 }} {{ true + 1 }}", "{}", "5.5 8 2"),
        ("{{ 1 + 2 ~ 3 + 4 }}", "{}", "28"),
        ("{{ 'a' ~ 1 ~ true ~ null ~ 2.50 }}", "{}", "a112.5"),
        ("{{ 1 == '1' }}|{{ 0 == 'a' }}|{{ '1e1' == '10' }}|{{ null == '' }}|{{ null == false }}|{{ 'abc' == 'ABC' }}", "{}", "1||1|1|1|"),
        ("{{ 'b' > 'a' }}|{{ 10 > 9 }}|{{ '10' > '9' }}|{{ 'x10' > 'x9' }}|{{ 2 >= 2 }}|{{ 2 < 1 }}|{{ 1 <=> 2 }}", "{}", "1|1|1||1||-1"),
        ("{{ 1 != 2 }}|{{ [1,2] == [1,2] }}|{{ [1] == [2] }}|{{ {a:1} == {a:1} }}", "{}", "1|1||1"),
        ("{{ true and false or true }}|{{ not true or true }}|{{ 1 and '0' }}|{{ not '' }}", "{}", "1|1||1"),
        (
            "{{ 2 in [1,2] }}|{{ 3 not in [1,2] }}|{{ 'ell' in 'hello' }}|{{ 'x' in data.m }}|{{ 'v' in data.m }}",
            r#"{"m":{"k":"v"}}"#,
            "1|1|1||1",
        ),
        ("{{ 'hello' starts with 'he' }}|{{ 'hello' ends with 'lo' }}|{{ 'hello' starts with 'lo' }}", "{}", "1|1|"),
        (
            "{{ 'a@b.c' matches '/^.+@.+$/' }}|{{ 'ABC' matches '/b/' }}|{{ 'ABC' matches '/b/i' }}|{{ 'x/y' matches '{^x/\\\\w$}' }}",
            "{}",
            "1||1|1",
        ),
        ("{{ 'x/y' matches '/x\\\\/y/' }}", "{}", "1"),
        (
            "{{ 5 is even ? 'e' : 'o' }}{{ 4 is odd ? 'o' : 'e' }}{{ 9 is divisible by(3) }}{{ 1 is same as('1') ? 'y' : 'n' }}",
            "{}",
            "oe1n",
        ),
        (
            "{{ '' is empty }}|{{ 0 is empty }}|{{ [] is not empty }}|{{ null is null }}|{{ [1] is iterable }}|{{ 'a' is iterable }}",
            "{}",
            "1|||1|1|",
        ),
        ("{{ not data.x is defined }}", "{}", "1"),
        ("{{ data.n ? 'a' : data.m ? 'b' : 'c' }}", r#"{"m":1}"#, "b"),
        ("{{ '0' ? 'true' : 'false' }}{{ [] ? 1 : 0 }}{{ 0.0 ? 1 : 0 }}", "{}", "false00"),
        (
            "{{ {'a': 1, b: 2, (1 + 2): 3}|json_encode }} {{ [1, 'x', [true, null],]|json_encode }}",
            "{}",
            r#"{"a":1,"b":2,"3":3} [1,"x",[true,null]]"#,
        ),
        ("{% set a = 1 %}{{ {a}|json_encode }}", "{}", r#"{"a":1}"#),
        ("{{ 'it\\'s' }} {{ \"a\\\"b\" }} {{ 'a\\\\b' }} {{ \"tab\\tnl\\n\" }}|", "{}", "it's a\"b a\\b tab\tnl\n|"),
        ("{{ '}}' }}{{ \"%}\" }}{{ '{# no #}' }}", "{}", "}}%}{# no #}"),
        ("{% for c in 'a'..'e' %}{{ c }}{% endfor %}{% for i in 3..1 %}{{ i }}{% endfor %}", "{}", "abcde321"),
        ("{{ 'hello'[1:3] }}{{ [1,2,3][1:]|join }}{{ 'abc'[:2] }}", "{}", "ell23ab"),
    ]);
}

#[test]
fn statements() {
    check(&[
        ("{% if data.a %}A{% elseif data.b %}B{% elseif data.c %}C{% else %}D{% endif %}", r#"{"b":1}"#, "B"),
        ("{% if data.a %}A{% elseif data.b %}B{% else %}D{% endif %}", "{}", "D"),
        ("{% for k, v in data %}{{ k }}={{ v }};{% endfor %}", r#"{"z":1,"a":2}"#, "z=1;a=2;"),
        ("{% for v in data %}{{ v }}{% endfor %}", r#"{"z":1,"a":2}"#, "12"),
        ("{% for k, v in ['x','y'] %}{{ k }}{{ v }}{% endfor %}", "{}", "0x1y"),
        (
            "{% for a in [1,2] %}{% for b in [1,2] %}{{ loop.parent.loop.index }}{{ loop.index }}{{ loop.first ? 'f' }} {% endfor %}{% endfor %}",
            "{}",
            "11f 12 21f 22 ",
        ),
        (
            "{% for a in [1,2,3] %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.last ? '!' }} {% endfor %}",
            "{}",
            "032 121 210! ",
        ),
        // A variable known before the loop keeps what the loop set; one born inside does not outlive it.
        (
            "{% set t = 0 %}{% for i in data.items %}{% set t = t + i.price %}{% endfor %}{{ t }}",
            r#"{"items":[{"price":2},{"price":3.5}]}"#,
            "5.5",
        ),
        ("{% for i in 1..3 %}{% set x = (x ?? 0) + i %}{% endfor %}[{{ x }}]", "{}", "[]"),
        ("{% for i in 1..3 %}{{ prev }}-{% set prev = i %}{% endfor %}", "{}", "-1-2-"),
        ("{% for o in 1..2 %}{% for i in 1..2 %}{% set n = (n ?? 0) + 1 %}{{ n }}{% endfor %} {% endfor %}", "{}", "12 12 "),
        ("{% set i = 'out' %}{% for i in 1..2 %}{{ i }}{% endfor %}{{ i }}", "{}", "12out"),
        ("{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{}", "12"),
        ("{% set a = 1 %}{% if true %}{% set a = 2 %}{% set b = 3 %}{% endif %}{{ a }}{{ b }}", "{}", "23"),
        ("{% set x %}Hi {{ data.n }}{% endset %}{{ x }}/{{ x|upper }}/{{ x|length }}", r#"{"n":"Ann"}"#, "Hi Ann/HI ANN/6"),
        ("{% for i in [1] %}{% else %}{% set i = 2 %}{% endfor %}{{ i }}", "{}", ""),
        ("{% set data = {a: 1} %}{{ data.a }}", r#"{"a":9}"#, "1"),
        ("{% for x in 5 %}a{% else %}none{% endfor %}", "{}", "none"),
    ]);
}

#[test]
fn text_filters() {
    check(&[
        (
            "{{ 'MiXed É'|lower }} {{ 'hELLO wORLD'|capitalize }} {{ 'hello wORLD o\\'neil'|title }}",
            "{}",
            "mixed é Hello world Hello World O'neil",
        ),
        (
            "{{ '  x '|trim }}|{{ 'xxaxx'|trim('x') }}|{{ '..a..'|trim('.', 'left') }}|{{ 'a/'|trim(side='right', character_mask='/') }}",
            "{}",
            "x|a|a..|a",
        ),
        ("{{ 'I like %this% and %that%'|replace({'%this%': 'foo', '%that%': data.x}) }}", r#"{"x":"bar"}"#, "I like foo and bar"),
        ("{{ 'aab'|replace({'a': 'b', 'aa': 'c'}) }}", "{}", "cb"),
        ("{{ 'one,two,three'|split(',')|json_encode }}", "{}", r#"["one","two","three"]"#),
    ]);
    check(&[
        ("{{ 'one,two,three'|split(',', 2)|json_encode }}", "{}", r#"["one","two,three"]"#),
        ("{{ 'abcde'|split('', 2)|json_encode }}", "{}", r#"["ab","cd","e"]"#),
        ("{{ 'a,b,c'|split(',', -1)|join('-') }}", "{}", "a-b"),
        ("{{ 'a b/ü&'|url_encode }} {{ {a: 1, b: 'x y'}|url_encode }}", "{}", "a%20b%2F%C3%BC%26 a=1&b=x%20y"),
        ("{{ '<b>bold</b> 1 < 2 <!-- c > d -->end<br'|striptags }}", "{}", "bold 1 < 2 end"),
        ("{{ \"a\\nb\"|nl2br }}", "{}", "a<br />\nb"),
        ("{{ '<b>\"&'|e }} {{ '<'|escape('html') }} {{ 'a b'|e('url') }} {{ '<b>'|raw }}", "{}", "&lt;b&gt;&quot;&amp; &lt; a%20b <b>"),
        ("{{ '%s has %05.1f of %d, %-4s|%+d %x %%'|format('Ann', 2.25, '7', 'ab', 3, 255) }}", "{}", "Ann has 002.2 of 7, ab  |+3 ff %"),
        ("{{ '%2$s %1$s %1$\\'*4d'|format(1, 'b') }}", "{}", "b 1 ***1"),
        ("{{ 1200.5|json_encode }} {{ 'ü/\"'|json_encode }} {{ [1.0, null, true]|json_encode }}", "{}", r#"1200.5 "ü/\"" [1.0,null,true]"#),
        ("{{ data.missing|default }}|{{ ''|default('x') }}|{{ 0|default('x') }}|{{ data.a.b|default('deep') }}", "{}", "|x|0|deep"),
    ]);
}

#[test]
fn number_filters() {
    check(&[
        ("{{ -5|abs }} {{ (-5)|abs }} {{ '-2.5'|abs }}", "{}", "-5 5 2.5"),
        (
            "{{ 2.5|round }} {{ 2.45|round(1) }} {{ 1.005|round(2) }} {{ 2.1|round(0, 'ceil') }} {{ 2.9|round(method='floor') }} {{ 1234|round(-2) }}",
            "{}",
            "3 2.5 1.01 3 2 1200",
        ),
        (
            "{{ 9800.333|number_format }} {{ 9800.335|number_format(2) }} {{ 9800.333|number_format(2, ',', '.') }} {{ (-1234567.891)|number_format(1, '.', ' ') }}",
            "{}",
            "9,800 9,800.34 9.800,33 -1 234 567.9",
        ),
        ("{{ 0.4|number_format }} {{ (-0.4)|number_format }} {{ data.p|number_format(2) }}", r#"{"p":"12.5"}"#, "0 0 12.50"),
        ("{{ max(1, 5, 3) }} {{ min([4, 2]) }} {{ range(0, 6, 2)|join(',') }} {{ cycle(['a','b'], 3) }}", "{}", "5 2 0,2,4,6 b"),
    ]);
}

#[test]
fn list_filters() {
    let data = r#"{"l":[3,1,2],"m":{"b":1,"a":2},"rows":[{"n":"x","q":2},{"n":"y","q":5},{"n":"z","q":1}]}"#;
    check(&[
        (
            "{{ data.l|first }}{{ data.l|last }}{{ data.m|first }}{{ data.m|last }}{{ 'äbc'|first }}{{ 'abc'|last }}{{ []|first }}",
            data,
            "3212äc",
        ),
        ("{{ data.l|join(', ') }} {{ data.l|join(', ', ' and ') }} {{ data.m|join('-') }}", data, "3, 1, 2 3, 1 and 2 1-2"),
        ("{{ data.l|length }}{{ data.m|length }}{{ 'äb'|length }}{{ 123|length }}", data, "3223"),
        (
            "{{ data.l|sort|join }} {{ data.m|sort|json_encode }} {{ data.l|sort((a, b) => b <=> a)|join }}",
            data,
            r#"123 {"b":1,"a":2} 321"#,
        ),
        ("{{ data.l|reverse|join }} {{ 'äbc'|reverse }} {{ data.m|reverse|json_encode }}", data, r#"213 cbä {"a":2,"b":1}"#),
        ("{{ data.m|keys|join(',') }} {{ data.l|keys|join(',') }}", data, "b,a 0,1,2"),
        (
            "{{ data.l|merge([9])|join }} {{ data.m|merge({a: 7, c: 8})|json_encode }} {{ []|merge({x: 1})|json_encode }}",
            data,
            r#"3129 {"b":1,"a":7,"c":8} {"x":1}"#,
        ),
        (
            "{{ data.l|slice(1)|join }} {{ data.l|slice(-2, 1)|join }} {{ 'hello'|slice(1, 3) }} {{ data.l|slice(0, -1)|join }} {{ data.l|slice(9)|join }}",
            data,
            "12 1 ell 31 ",
        ),
        (
            "{{ data.rows|map(r => r.n)|join(',') }} {{ data.rows|map((r, i) => i ~ r.n)|join(',') }} {{ data.m|map((v, k) => k ~ v)|json_encode }}",
            data,
            r#"x,y,z 0x,1y,2z {"b":"b1","a":"a2"}"#,
        ),
        ("{{ data.rows|filter(r => r.q > 1)|map(r => r.n)|join }} {{ data.m|filter((v, k) => k == 'a')|keys|join }}", data, "xy a"),
        ("{{ data.rows|reduce((c, r) => c + r.q, 0) }} {{ data.l|reduce((c, v) => c ~ v) }}", data, "8 312"),
        ("{{ data.rows|sort((a, b) => a.q <=> b.q)|column('n')|join }}", data, "zxy"),
        // An arrow function sees the variables around it, also inside loops and inside another arrow function.
        (
            "{% set k = 2 %}{% for f in [1, 10] %}{{ data.l|map(v => v * f * k + loop.index)|join(',') }};{% endfor %}",
            data,
            "7,3,5;62,22,42;",
        ),
        ("{{ data.l|map(v => data.l|filter(w => w < v)|length)|join }}", data, "201"),
        (
            "{% for r in data.rows|filter(r => r.q > 1) %}{{ r.n }}{% endfor %}{% if data.l|filter(v => v > 2) %}big{% endif %}",
            data,
            "xybig",
        ),
    ]);
}

#[test]
fn dates() {
    check(&[
        ("{{ event.receivedAt|date('Y-m-d\\\\TH:i:s') }} {{ 'now'|date('U') }}", "{}", "2024-05-06T07:08:09 1714979289"),
        (
            "{{ 0|date }} {{ '86400'|date('D, j M y g:i A') }} {{ 1714979289123|date('c') }}",
            "{}",
            "January 1, 1970 00:00 Fri, 2 Jan 70 12:00 AM 2024-05-06T07:08:09+00:00",
        ),
        ("{{ '2024-02-29'|date('l jS F Y z t L N W') }}", "{}", "Thursday 29th February 2024 59 29 1 4 09"),
        (
            "{{ '2024-02-29T23:30:00-05:00'|date('d H:i') }} {{ '2024-02-29T23:30:00Z'|date('d H:i P', '+02:00') }} {{ 'Thu, 29 Feb 2024 23:30:00 +0100'|date('H:i T') }}",
            "{}",
            "01 04:30 01 01:30 +02:00 22:30 UTC",
        ),
        ("{{ '2024/02/29 10:11:12'|date('H:i:s') }} {{ '2024-02-29 10:11'|date('H.i') }}", "{}", "10:11:12 10.11"),
        ("[{{ data.nope|date('Y') }}][{{ null|date }}]", "{}", "[][]"),
    ]);
    assert_eq!(fails("{{ 'soon'|date }}", "{}").code(), "template_failed");
    assert!(fails("{{ 0|date('H', 'Mars/Base') }}", "{}").to_string().contains("Mars/Base"));
}

#[test]
fn numbers_of_any_size_print_as_sent() {
    let data = r#"{"a":123456789012345678901234567890,"b":1e400,"c":18446744073709551615,"d":-0.0,"e":1.10,"dup":1,"dup":2,"s":"\ud800x\ud83d\ude00"}"#;
    check(&[
        (
            "{{ data.a }} {{ data.b }} {{ data.c }} {{ data.d }} {{ data.e }} {{ data.dup }} {{ data.s }}",
            data,
            "123456789012345678901234567890 1e400 18446744073709551615 0 1.1 2 \u{fffd}x😀",
        ),
        ("{{ data.a|json_encode }} {{ data.b > 5 ? 'big' }} {{ data.c == data.c }}", data, "123456789012345678901234567890 big 1"),
    ]);
}

#[test]
fn run_time_failures_name_place_and_reason() {
    let error = fails("fine\n{{ 1 / data.zero }}", r#"{"zero":0}"#);
    assert_eq!(error, RenderError::Failed { block: 0, line: Some(2), reason: "division by zero".to_owned() });
    assert_eq!(error.code(), "template_failed");
    assert_eq!(error.to_string(), "the template failed in block 1, line 2: division by zero");
    assert!(fails("{{ data.price * 2 }}", r#"{"price":"$20"}"#).to_string().contains("\"$20\" is not a number"));
    assert!(fails("{{ data.l + 1 }}", r#"{"l":[]}"#).to_string().contains("a list cannot be used as a number"));
    assert!(fails("{{ 'x'|sort }}", "{}").to_string().contains("needs an array"));
    assert!(fails("{{ '%d %d'|format(1) }}", "{}").to_string().contains("no value"));
    let inside_arrow = fails("a\n\n{{ [0]|map(v => 1 / v)|join }}", "{}");
    assert_eq!(inside_arrow, RenderError::Failed { block: 0, line: Some(3), reason: "division by zero".to_owned() });
    let template = Template::compile(&[text("a"), table("data.x", &[("X", "x")])]).unwrap();
    let error = template.render(&input(r#"{"x":"text"}"#), Form::Raw, &Limits::DEFAULT).unwrap_err();
    assert_eq!(error, RenderError::Failed { block: 1, line: None, reason: "data.x is a text, not an array".to_owned() });
    let error = template.render(&input("not json"), Form::Raw, &Limits::DEFAULT).unwrap_err();
    assert!(error.to_string().contains("not valid JSON"), "{error}");
}

#[test]
fn variables_pass_from_block_to_block() {
    let blocks = [text("{% set a = data.n * 2 %}"), text("{{ a }}")];
    assert_eq!(render(&blocks, r#"{"n":4}"#, Form::Plain).text, "8");
}

// MSGGO-77: templates of one event definition are independent of one another.
#[test]
fn several_templates_render_the_same_event() {
    let first = Template::compile(&[text("{% set a = 'first' %}{{ a }} {{ data.n }}")]).unwrap();
    let second = Template::compile(&[text("{{ a }}second {{ data.n }}")]).unwrap();
    let broken = Template::compile(&[text("{{ 1 / 0 }}")]).unwrap();
    let event = input(r#"{"n":1}"#);
    let plain = |template: &Template| template.render(&event, Form::Plain, &Limits::DEFAULT).map(|rendered| rendered.text);
    assert_eq!(plain(&first).unwrap(), "first 1");
    assert_eq!(plain(&broken).unwrap_err().code(), "template_failed");
    assert_eq!(plain(&second).unwrap(), "second 1");
}

#[test]
fn a_raw_text_can_be_a_json_body() {
    let body = raw(r#"{"text":{{ data.x|json_encode }},"n":{{ data.n }}{# end #}}"#, r#"{"x":"a\"<b>","n":1.50}"#);
    assert_eq!(body, r#"{"text":"a\"<b>","n":1.5}"#);
}
