//! The conformance vectors of MessageMedia 6.3, and the corners of the language around them.

use super::*;

const MO_CONTENT: &str = "He said \"hi\"\nnext / é <b>";

fn variables() -> Variables {
    let mut variables = Variables::default();
    variables.set("mtId", "877c");
    variables.set("statusCode", "220");
    variables.set("moContent", MO_CONTENT);
    variables.set("metadata", Value::map(vec![("key1".into(), "va\"l/1".into()), ("key2".into(), "é2".into())]));
    variables.set("empty", "");
    variables.set("words", Value::list(vec!["a".into(), "b".into(), "c".into()]));
    variables.set("nothing", Value::list(Vec::new()));
    variables
}

fn render(source: &str) -> String {
    let template = Template::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    template.render(&variables(), Form::Raw, &Limits::DEFAULT).unwrap_or_else(|error| panic!("{source}: {error}"))
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (source, result) in cases {
        assert_eq!(render(source), *result, "{source}");
    }
}

fn refused(source: &str) -> String {
    Template::parse(source).map(|_| source).expect_err("must be refused").to_string()
}

// MESSAGEMEDIA-79, MESSAGEMEDIA-80, MESSAGEMEDIA-81, MESSAGEMEDIA-76
#[test]
fn references() {
    check(&[
        (r#"{"id":"$mtId","status":"$statusCode"}"#, r#"{"id":"877c","status":"220"}"#),
        ("$undef", "$undef"),
        ("${undef}", "${undef}"),
        ("$!undef", ""),
        ("$!{undef}", ""),
        ("${mtId}x", "877cx"),
        ("$mtIdx", "$mtIdx"),
        ("$mtId-a", "$mtId-a"),
        ("$mtId.", "877c."),
        ("$mtId,", "877c,"),
        ("$mtId$statusCode", "877c220"),
        ("$$mtId", "$877c"),
        ("$5.00", "$5.00"),
        ("$", "$"),
        ("$!", "$!"),
        ("${", "${"),
        ("${1}", "${1}"),
        ("$metadata.get('key2')", "é2"),
        ("$metadata.get(\"key2\")", "é2"),
        ("$metadata.key2", "é2"),
        ("$metadata['key2']", "é2"),
        ("${metadata.key2}s", "é2s"),
        ("$metadata.get('nope')", "$metadata.get('nope')"),
        ("$!metadata.get('nope')", ""),
        ("$mtId.nope()", "$mtId.nope()"),
        ("$!mtId.nope()", ""),
        ("$metadata.nope.deeper", "$metadata.nope.deeper"),
        ("$words[0]$words[-1] $words[3]", "ac $words[3]"),
        ("$metadata.entrySet()", "[key1=va\"l/1, key2=é2]"),
        ("$metadata", "{key1=va\"l/1, key2=é2}"),
        ("$esc $foreach", "$esc $foreach"),
    ]);
}

// MESSAGEMEDIA-81
#[test]
fn escapes() {
    check(&[
        (r"\$mtId", "$mtId"),
        (r"\\$mtId", r"\877c"),
        (r"\\\$mtId", r"\$mtId"),
        (r"\$undef \\$undef \\\$undef", r"\$undef \\$undef \\\$undef"),
        (r"\$5 a\b \n", r"\$5 a\b \n"),
        (r"\$!mtId", r"$!mtId"),
        (r"\#if($mtId)", "#if(877c)"),
        (r"\\#if($mtId)x#end", r"\x"),
        (r"\\\#end", r"\#end"),
        (r"\#nope \\#nope", r"\#nope \\#nope"),
        (r"\##gone", r"\"),
    ]);
}

// MESSAGEMEDIA-82, MESSAGEMEDIA-83
#[test]
fn the_escape_tool() {
    let json = render(r#""$esc.json($moContent)""#);
    assert_eq!(serde_json::from_str::<String>(&json).expect("a JSON string"), MO_CONTENT);
    let mut with_backslash = Variables::default();
    with_backslash.set("moContent", "a\\\"b\"\n\t\u{1}");
    let template = Template::parse(r#""$esc.json($moContent)""#).expect("good");
    let json = template.render(&with_backslash, Form::Raw, &Limits::DEFAULT).expect("rendered");
    assert_eq!(serde_json::from_str::<String>(&json).expect("a JSON string"), "a\\\"b\"\n\t\u{1}");
    check(&[
        ("$moContent", MO_CONTENT),
        ("$esc.json($undef)", "$esc.json($undef)"),
        ("$!esc.json($undef)", ""),
        // Open point 11: the quiet form inside is as good.
        ("\"$esc.json($!undef)\"", "\"\""),
        ("$esc.json($!mtId)", "877c"),
        ("$esc.json(\"$mtId!\")", "877c!"),
        ("$esc.xml($moContent)", "He said &quot;hi&quot;\nnext / é &lt;b&gt;"),
        ("$esc.html(\"it's <b>\")", "it&#39;s &lt;b&gt;"),
        ("$esc.url($metadata.key1)", "va%22l%2F1"),
        ("$esc.nope($mtId)", "$esc.nope($mtId)"),
    ]);
}

// MESSAGEMEDIA-85, MESSAGEMEDIA-86
#[test]
fn loops() {
    let joined =
        render(r##"{#foreach($key in $metadata.keySet())"$key":"$esc.json($metadata.get($key))"#if( $velocityHasNext ),#end#end}"##);
    let value: serde_json::Value = serde_json::from_str(&joined).expect("JSON");
    assert_eq!(value, serde_json::json!({ "key1": "va\"l/1", "key2": "é2" }));
    assert_eq!(joined.matches(',').count(), 1);
    check(&[
        ("#foreach($k in $metadata.keySet())$foreach.count/$foreach.index #end", "1/0 2/1 "),
        ("#foreach($k in $metadata.keySet())$velocityCount#end", "12"),
        ("#foreach($k in $undef)x#end", ""),
        ("#foreach($k in $mtId)x#end", ""),
        ("#foreach($w in $words)$w#if($foreach.hasNext),#end#end", "a,b,c"),
        ("#foreach( $v in $metadata )[$v]#end", "[va\"l/1][é2]"),
        ("#foreach($e in $metadata.entrySet())$e.key=$e.getValue();#end", "key1=va\"l/1;key2=é2;"),
        ("#foreach($i in [1..3])$i#end#foreach($i in [2..-1])$i#end", "123210-1"),
        ("#foreach($i in [$words.size()..1])$i#end", "321"),
        ("#foreach($i in ['x', 2, 1.50, true])$i #end", "x 2 1.5 true "),
        ("$w#foreach($w in $words)$w#end$w$foreach.index", "$wabc$w$foreach.index"),
        ("#set($w = 'k')#foreach($w in $words)$w#end$w", "abck"),
        (
            "#foreach($a in [1..2])#foreach($b in [1..2])$foreach.parent.count$foreach.count $foreach.topmost.index;#end#end",
            "11 0;12 0;21 1;22 1;",
        ),
        ("#foreach($w in $words)#if($foreach.first)[#end$w#if($foreach.last)]#end#end", "[abc]"),
        ("#foreach($w in $words)$w#if($w == 'b')#break#end#end.", "ab."),
        ("#foreach($w in $words)$w#stop#end.", "a"),
    ]);
}

// MESSAGEMEDIA-84
#[test]
fn conditions() {
    check(&[
        ("#if($undef)A#{else}B#end", "B"),
        ("#if($statusCode == \"220\")yes#end", "yes"),
        ("#if($statusCode == 220)yes#end", "yes"),
        ("#if($statusCode != '220')yes#{else}no#end", "no"),
        ("#if($empty)empty texts are true#end", "empty texts are true"),
        ("#if($nothing)and empty lists#end", "and empty lists"),
        ("#if(!$undef && $mtId)a#end#if(not $undef and $mtId)b#end", "ab"),
        ("#if($undef || false)a#elseif($undef)b#elseif ( $mtId )c#else d#end", "c"),
        ("#if(1 < 2 && 2 <= 2 && 3 > 2 && 2 >= 2)a#end#if(1 gt 2 or 2 lt 1)b#end", "a"),
        ("#if(1 == 1.0)a#end#if('b' < 'a')b#end#if($undef == $nope)c#end#if($mtId == $undef)d#end", "ac"),
        ("#if((1 + 2) * 3 == 9)a#end#if(1 + 2 * 3 == 7)b#end#if(7 % 4 - 1 == 2)c#end", "abc"),
        ("#if($metadata.containsKey('key1') && $words.contains('b') && $words.size() == 3)a#end", "a"),
        ("#if(!$metadata.isEmpty())a#end#if($nothing.empty)b#end", "ab"),
        ("#if($mtId)#if($undef)a#{else}b#end#{else}c#end", "b"),
    ]);
}

#[test]
fn variables_are_set() {
    check(&[
        ("#set($x = \"v$mtId\")$x", "v877c"),
        ("#set($x = 'v$mtId')$x", "v$mtId"),
        ("#set( $x = 3 + 4 * 2 - 1 )$x", "10"),
        ("#set($x = 7 / 2)$x#set($x = 7 / 2.0) $x#set($x = 1 / 0) $x", "3 3.5 3.5"),
        ("#set($x = 'a' + $mtId + 1)$x", "a877c1"),
        ("#set($x = 'a' + $undef)$x", "a$undef"),
        ("#set($x = 'kept')#set($x = $undef)$x", "kept"),
        ("#set($x = {'a': 1, 'b': [1, 2]})$x.a$x.b[1]$x.size()", "122"),
        ("#set($x = \"#if($mtId)yes#{else}no#end\")$x", "yes"),
        ("#set($x = \"a\\\"b\")$x", "a\\\"b"),
        ("#set($x = \"\\u00e9\\n\")$x", "é\\n"),
        ("#set($x = 10000000.0)$x;#set($x = 12345678.5)$x;#set($x = 0.5e-3)$x", "1.0E7;1.23456785E7;5.0E-4"),
        ("$mtId #set($x = 1)$x", "877c1"),
        ("#set($x = 9223372036854775807 + 1)$x", "$x"),
        ("#set($b = $statusCode == '220')$b", "true"),
        ("#set($list = $moContent.split(' '))$list.size()", "6"),
    ]);
}

#[test]
fn methods_of_texts() {
    check(&[
        ("$moContent.length()", "25"),
        ("#set($x = ' aBc ')[$x.trim()|$x.toUpperCase()|$x.toLowerCase()]", "[aBc| ABC | abc ]"),
        ("$mtId.substring(1)$mtId.substring(0, 2)", "77c87"),
        ("$mtId.substring(9)$mtId.substring(2, 1)", "$mtId.substring(9)$mtId.substring(2, 1)"),
        ("$mtId.replaceAll('[0-9]+', '<\\$0>')", "<$0>c"),
        ("$mtId.replaceAll('([0-9])', '$1.')", "8.7.7.c"),
        ("$mtId.replaceAll('7', '$1')$mtId.replaceAll('(', '')", "$mtId.replaceAll('7', '$1')$mtId.replaceAll('(', '')"),
        ("$moContent.replaceAll('\"', \"'\").replaceAll('\\s', ' ')", "He said 'hi' next / é <b>"),
        ("$mtId.replace('7', '.')$mtId.contains('77')$mtId.indexOf('c')$mtId.startsWith('8')$mtId.endsWith('8')", "8..ctrue3truefalse"),
        ("$mtId.equals('877c')$mtId.matches('[0-9c]')$mtId.equalsIgnoreCase('877C')$empty.isEmpty()", "truefalsetruetrue"),
        ("$mtId.toString().length()$words.size().toString()", "43"),
    ]);
    let mut emoji = Variables::default();
    emoji.set("e", "a🚀b");
    let template = Template::parse("$e.length()$e.substring(3)").expect("good");
    assert_eq!(template.render(&emoji, Form::Raw, &Limits::DEFAULT).expect("rendered"), "4b");
}

#[test]
fn what_is_no_directive_stays() {
    check(&[
        ("# # #- #{ #{x #{1}", "# # #- #{ #{x #{1}"),
        ("#foreach #set #set $x = 1", "#foreach #set #set $x = 1"),
        ("a ## comment\nb #* $mtId\n *#c#[[ $mtId #if ]]#d", "a b c $mtId #if d"),
        ("#include('secrets.txt')#parse(\"/etc/passwd\")x", "x"),
        ("#ended #elsewhere", "#ended #elsewhere"),
        ("#notadirective #1", "#notadirective #1"),
        ("#hello($mtId) #hello (it's $mtId)", "#hello($mtId) #hello (it's 877c)"),
    ]);
}

#[test]
fn directives_swallow_their_line_end() {
    check(&[
        ("#if($mtId)\na\n#else\nb\n#end\nc", "a\nc"),
        ("#foreach($w in $words)  \r\n$w\r\n#end\t\nx", "a\r\nb\r\nc\r\nx"),
        ("#set($x = 1)\n$x\n", "1\n"),
        ("a\n  #set($x = 1)\nb", "a\n  b"),
        ("#if($mtId)\n  #set($x = 1)\n  b#end", "  b"),
        ("$mtId\n$statusCode", "877c\n220"),
        ("$mtId.length()\nx", "4\nx"),
        ("#if($mtId) a #end b", " a  b"),
    ]);
}

// MESSAGEMEDIA-89, the part of it that is the parser's.
#[test]
fn mistakes_are_told_with_line_and_column() {
    assert_eq!(refused("#if($x"), "line 1, column 7: `)` must be here");
    assert_eq!(refused("a\n é #if($x)\nb"), "line 2, column 4: this directive has no #end");
    assert_eq!(refused("a #end"), "line 1, column 7: there is no #if or #foreach for this #else or #end");
    for source in [
        "#foreach($x in $y) a",
        "#foreach($x $y) a #end",
        "#foreach($x.y in $y)#end",
        "#foreach($x in $y)#else#end",
        "#if($x)#else#else#end",
        "#if",
        "#if()#end",
        "#if(x)#end",
        "#elseif($x)",
        "#else",
        "#set($x)",
        "#set($x.y = 1)",
        "#set(x = 1)",
        "#set($x = \"#if($y)\")",
        "#set($x = 'a)",
        "#set($x = 1e999)",
        "#* comment",
        "#[[ text",
        "${mtId x}",
        "$metadata.get('key'",
        "$metadata.get(key)",
        "$mtId[",
        "$mtId[x]",
        "#macro(x)#end",
        "#define($x)#end",
        "#evaluate($x)",
    ] {
        refused(source);
    }
    let long = "x".repeat(MAX_SOURCE_BYTES + 1);
    assert!(refused(&long).contains("at most"));
    for deep in ["#if($x)", "#if((((", "$a[", "#set($x=[", "$a.b($c.d(", "#if(!"] {
        refused(&deep.repeat(500));
    }
}

// MESSAGEMEDIA-90, the part of it that is the renderer's.
#[test]
fn in_a_url_values_are_percent_encoded() {
    let render = |source: &str| Template::parse(source).expect("good").render(&variables(), Form::Url, &Limits::DEFAULT).expect("rendered");
    assert_eq!(render("http://a/?q=$moContent&m=$mtId"), "http://a/?q=He%20said%20%22hi%22%0Anext%20%2F%20%C3%A9%20%3Cb%3E&m=877c");
    assert_eq!(render("http://a/?q=$esc.url($metadata.key1)"), "http://a/?q=va%22l%2F1");
    assert_eq!(render("http://a/$undef/$!undef"), "http://a/$undef/");
    assert_eq!(render("http://a/#set($x = 'a b')$x"), "http://a/a%20b");
}

#[test]
fn a_rendering_is_bounded() {
    let limits = Limits { max_output_bytes: 1000, max_steps: 5000, max_work: 10_000 };
    let fails = |source: &str| {
        Template::parse(source).expect("good").render(&variables(), Form::Raw, &limits).map(|text| text.len()).expect_err("must be stopped")
    };
    assert_eq!(fails("#foreach($i in [1..300])$moContent#end"), RenderError::TooLong { limit: 1000 });
    assert_eq!(fails("#set($x = 'ab')#foreach($i in [1..100])#set($x = \"$x$x\")#end"), RenderError::TooLong { limit: 1000 });
    for source in [
        "#foreach($i in [1..9223372036854775807])#end",
        "#foreach($i in [1..200])#foreach($j in [1..200])#end#end",
        "#set($x = [1])#foreach($i in [1..14])#set($x = [$x, $x])#end#if($x == $x)#end",
        "#set($x = [1])#foreach($i in [1..14])#set($x = [$x, $x])#end$x.toString().length()",
        "#foreach($i in [1..400])#set($y = $moContent.toUpperCase().toLowerCase())#end",
        "#foreach($i in [1..100])$mtId.replaceAll('a', 'b')#end",
    ] {
        fails(source);
    }
    // What is nested too deeply is no value.
    check(&[("#set($x = [1])#foreach($i in [1..1000])#set($x = [$x])#end$x.size()", "1")]);
}
