//! One message in every form, and that data is inert in each.

use proptest::prelude::*;

use super::*;

const ORDER: &str = r#"{"event":"order-received","items":[{"name":"Product A","quantity":2,"price":"$20"},{"name":"Product B","quantity":1,"price":"$15"}]}"#;

fn order() -> Vec<Block> {
    vec![
        text("**New order** for _{{ data.event }}_\nSee [the shop](https://shop.example/?a=1&b=2)\n\n- `one`\n- two"),
        table("data.items", &[("Name", "name"), ("Qty", "quantity"), ("Price", "price")]),
    ]
}

// MSGGO-73: the same template in each language.
#[test]
fn one_template_in_every_form() {
    let html = render(&order(), ORDER, Form::Html);
    let page = html.html.unwrap();
    assert!(page.contains("<strong>New order</strong> for <em>order-received</em><br>\n"), "{page}");
    assert!(page.contains("href=\"https://shop.example/?a=1&amp;b=2\">the shop</a>"), "{page}");
    assert!(page.contains("<li><code") && page.contains(">one</code></li><li>two</li></ul>"), "{page}");
    assert_eq!(html.title, "New order for order-received");
    let plain = "New order for order-received\nSee the shop (https://shop.example/?a=1&b=2)\n\n- one\n- two\n\n\
                 Name       Qty  Price\n---------  ---  -----\nProduct A  2    $20\nProduct B  1    $15";
    assert_eq!(html.text, plain);
    assert_eq!(render(&order(), ORDER, Form::Plain).text, plain);
    assert_eq!(
        render(&order(), ORDER, Form::SlackMrkdwn).text,
        "*New order* for _order-received_\nSee <https://shop.example/?a=1&amp;b=2|the shop>\n\n• `one`\n• two\n\n\
         ```\nName       Qty  Price\n---------  ---  -----\nProduct A  2    $20\nProduct B  1    $15\n```"
    );
    assert_eq!(
        render(&order(), ORDER, Form::DiscordMarkdown).text,
        "**New order** for *order-received*\nSee [the shop](https://shop.example/?a=1&b=2)\n\n- `one`\n- two\n\n\
         ```\nName       Qty  Price\n---------  ---  -----\nProduct A  2    $20\nProduct B  1    $15\n```"
    );
    let raw = render(&order(), ORDER, Form::Raw).text;
    assert!(raw.starts_with("**New order** for _order-received_\n"), "{raw}");
    assert!(render(&order(), ORDER, Form::Raw).html.is_none());
}

// MSGGO-72
#[test]
fn a_table_has_one_row_per_element() {
    let html = render(&order()[1..], ORDER, Form::Html).html.unwrap();
    assert_eq!(html.matches("<tr>").count(), 3, "{html}");
    assert!(html.contains(">Product A</td>") && html.contains(">2</td>") && html.contains(">$15</td>"), "{html}");
    let cells = |data: &str, path: &str, field: &str| render(&[table(path, &[("H", field)])], data, Form::Raw).text;
    let rule = |cell: &str| format!("H{}\n{}\n{cell}\n", "", "-".repeat(cell.chars().count()));
    assert_eq!(cells(r#"{"x":{"y-z":[{"a":{"b":true}}]}}"#, "data.x['y-z']", "a.b"), rule("true"));
    assert_eq!(cells(r#"{"x":[{"a.b":"k"}]}"#, "data.x", "a.b"), rule("k"));
    assert_eq!(cells(r#"{"x":["k"]}"#, "data.x", "value"), rule("k"));
    assert_eq!(cells(r#"{"x":[["k"]]}"#, "data.x", "0"), rule("k"));
    assert_eq!(cells(r#"{"x":{"p":{"a":[1]}}}"#, "data.x", "a"), rule("[1]"));
    assert_eq!(cells("{}", "data.x", "a"), "");
    assert_eq!(cells(r#"{"x":[]}"#, "data.x", "a"), "");
    assert_eq!(cells(r#"{"x":[{"b":1}]}"#, "data.x", "a"), "H\n-\n\n");
}

#[test]
fn table_rows_beyond_the_limit_are_counted() {
    let template = Template::compile(&[table("data.x", &[("N", "n")])]).unwrap();
    let limits = Limits { max_table_rows: 2, ..Limits::DEFAULT };
    let data = r#"{"x":[{"n":1},{"n":2},{"n":3}]}"#;
    assert_eq!(template.render(&input(data), Form::Plain, &limits).unwrap().text, "N\n-\n1\n2\n… and 1 more");
    assert!(template.render(&input(data), Form::Html, &limits).unwrap().html.unwrap().contains("… and 1 more"));
}

// MSGGO-75
#[test]
fn script_in_data_is_inert_in_html() {
    let data = r#"{"x":"<script>alert(1)</script>","u":"javascript:alert(1)","q":"https://e.example/\"onmouseover=\"x"}"#;
    let blocks = [
        text("{{ data.x }} {{ data.x|raw }} **{{ data.x }}** `{{ data.x }}` <script>alert(2)</script> {{ '<script>' }}"),
        text("[{{ data.x }}]({{ data.u }}) [a]({{ data.q }}) {% set c %}{{ data.x }}{% endset %}{{ c }}{{ c|upper }}"),
        Block::Table { path: "data".into(), columns: vec![Column { heading: "<script>".into(), field: "x".into() }] },
    ];
    let html = render(&blocks, data, Form::Html).html.unwrap();
    assert!(!html.to_lowercase().contains("<script"), "{html}");
    assert!(!html.contains("href=\"javascript"), "{html}");
    assert!(html.contains("href=\"https://e.example/%22onmouseover=%22x\""), "{html}");
    assert!(html.contains("&lt;script&gt;alert(1)"), "{html}");
    let page = message_page("<script>1</script>\n2", &html);
    assert!(!page.to_lowercase().contains("<script"), "{page}");
    assert!(page.contains("<title>&lt;script&gt;1&lt;/script&gt; 2</title>") && page.contains("default-src 'none'"), "{page}");
}

#[test]
fn data_makes_no_markup() {
    let data = r#"{"x":"**b** _i_ `c` [l](https://e.example) <!channel> <@U1> @everyone ~~s~~ ||h|| # t\n- item\n> q"}"#;
    let html = render(&[text("{{ data.x }}")], data, Form::Html).html.unwrap();
    assert!(html.contains("**b** _i_ `c` [l](https://e.example) &lt;!channel&gt;") && !html.contains("<strong>"), "{html}");
    assert!(!html.contains("<ul") && html.contains("<br>\n- item"), "{html}");
    let slack = render(&[text("{{ data.x }}")], data, Form::SlackMrkdwn).text;
    assert!(slack.contains("&lt;!channel&gt; &lt;@U1&gt;") && !slack.contains('<'), "{slack}");
    let discord = render(&[text("{{ data.x }}")], data, Form::DiscordMarkdown).text;
    assert_eq!(
        discord,
        "\\*\\*b\\*\\* \\_i\\_ \\`c\\` \\[l\\](https://e.example) \\<!channel\\> \\<@\u{200b}U1\\> @\u{200b}everyone \\~\\~s\\~\\~ \\|\\|h\\|\\| \\# t\n\\- item\n\\> q"
    );
    let url = render(&[text("{{ data.u }}")], r#"{"u":"https://e.example/a_b_c x_y"}"#, Form::DiscordMarkdown).text;
    assert_eq!(url, "https://e.example/a_b_c x\\_y");
    // Data cannot end the markup that it stands in.
    let bold = render(&[text("**{{ data.x }}**")], r#"{"x":"a** b"}"#, Form::Html).html.unwrap();
    assert!(bold.contains("<strong>a** b</strong>"), "{bold}");
    let code = render(&[text("`{{ data.x }}`")], r#"{"x":"a` *b*"}"#, Form::SlackMrkdwn).text;
    assert_eq!(code, "`a' *b*`");
    let fence = render(&[table("data.r", &[("H", "x")])], r#"{"r":[{"x":"```<!here>"}]}"#, Form::SlackMrkdwn).text;
    assert!(fence.contains("'''&lt;!here&gt;"), "{fence}");
    // Nor forge the marks that tell data from text.
    let forged = render(&[text("{{ data.x }}")], "{\"x\":\"\\ufdd1**b**\u{fdd0}\\ufdd2\"}", Form::Html).html.unwrap();
    assert!(forged.contains("**b**") && !forged.contains("<strong>"), "{forged}");
    let event = RenderInput { event_name: "\u{fdd1}**b**", ..input("{}") };
    let template = Template::compile(&[text("{{ event.name }}")]).unwrap();
    assert!(!template.render(&event, Form::Html, &Limits::DEFAULT).unwrap().html.unwrap().contains("<strong>"));
}

#[test]
fn literals_and_captures_are_the_authors_text() {
    let bold = |source: &str| render(&[text(source)], r#"{"n":"*x*"}"#, Form::SlackMrkdwn).text;
    assert_eq!(bold("{{ data.n ? '**yes**' : '**no**' }}"), "*yes*");
    assert_eq!(bold("{% set x %}**{{ data.n }}!**{% endset %}{{ x }}"), "**x*!*");
    let html = render(&[text("{% set x %}**{{ data.n }}**{% endset %}{{ x }} {{ x ~ '' }}")], r#"{"n":"**x**"}"#, Form::Html).html.unwrap();
    assert!(html.contains("<strong>**x**</strong> ****x****"), "{html}");
}

#[test]
fn light_markdown() {
    let html = |source: &str| {
        let html = render(&[text(source)], r#"{"v":"V"}"#, Form::Html).html.unwrap();
        let start = html.find("<p style=\"margin:0 0 12px\">").map_or(0, |at| at + 27);
        html[start..].split("</p>").next().unwrap_or_default().to_owned()
    };
    for (source, expected) in [
        ("**a *b* c**", "<strong>a <em>b</em> c</strong>"),
        ("***a***", "<strong><em>a</em></strong>"),
        ("*a **b** c*", "<em>a <strong>b</strong> c</em>"),
        ("2 * 3 * 4 and a_b_c", "2 * 3 * 4 and a_b_c"),
        ("** a ** _ b _", "** a ** _ b _"),
        ("snake_{{ data.v }}_case", "snake_V_case"),
        (r"\*a\* \_b\_ \`c\` \[d\](e) \\ \x", "*a* _b_ `c` [d](e) \\ \\x"),
        ("*open **open `open [open", "*open **open `open [open"),
        (
            "[a](ftp://x) [b](http://) [](https://e.example/)",
            "a b <a style=\"color:#0b62d6\" rel=\"noopener noreferrer\" href=\"https://e.example/\">https://e.example/</a>",
        ),
        ("[a] (b) [a](b c)", "[a] (b) [a](b c)"),
        ("[**x**](mailto:a@b.c)", "<a style=\"color:#0b62d6\" rel=\"noopener noreferrer\" href=\"mailto:a@b.c\"><strong>x</strong></a>"),
        ("``", "``"),
        ("a\nb", "a<br>\nb"),
    ] {
        assert_eq!(html(source), expected, "{source}");
    }
}

#[test]
fn short_form_is_a_summary_and_a_link() {
    let short = render(&order(), ORDER, Form::Short).text;
    assert_eq!(short, "New order for order-received See the shop one two Product A 2 $20; Product B 1 $15; https://ph.example/m/tok");
    let long = render(&[text("{{ data.x }}")], &format!(r#"{{"x":"{}"}}"#, "wörd ".repeat(100)), Form::Short).text;
    let summary = long.strip_suffix(" https://ph.example/m/tok").unwrap();
    assert!(summary.chars().count() <= 140 && summary.ends_with('…') && !long.contains('\n'), "{long}");
    let template = Template::compile(&[]).unwrap();
    let bare = RenderInput { full_message_url: None, ..input("{}") };
    assert_eq!(template.render(&bare, Form::Short, &Limits::DEFAULT).unwrap().text, "Order received");
}

#[test]
fn titles_are_one_short_line() {
    let title = |source: &str| render(&[text(source)], r#"{"x":"a\r\nBcc: b"}"#, Form::Html).title;
    assert_eq!(title("\n  \n**Hello** [x](https://e.example)\nmore"), "Hello x");
    assert_eq!(title("{{ data.x }}"), "a");
    assert_eq!(title(""), "Order received");
    assert_eq!(title(&"y".repeat(300)).chars().count(), 200);
}

#[test]
fn escape_and_nl2br_do_not_show_where_the_channel_escapes() {
    let html = render(&[text("{{ data.x|e }} {{ data.x|nl2br }}")], r#"{"x":"a & b\nc"}"#, Form::Html).html.unwrap();
    assert!(html.contains("a &amp; b<br>\nc a &amp; b<br>\nc") && !html.contains("&amp;amp;"), "{html}");
}

#[test]
fn discord_posts_fit() {
    assert_eq!(split_for_discord("short"), ["short"]);
    assert!(split_for_discord("").is_empty() && split_for_discord("\n \n").is_empty());
    let text = format!("{}\n```\n{}```\nend", "word ".repeat(500), "row of a table\n".repeat(400));
    let posts = split_for_discord(&text);
    for post in &posts {
        assert!(post.encode_utf16().count() <= 2_000 && !post.trim().is_empty());
        assert_eq!(post.matches("```").count() % 2, 0, "{post}");
    }
    let rows: usize = posts.iter().map(|post| post.matches("row of a table").count()).sum();
    assert_eq!(rows, 400);
    assert_eq!(posts.iter().map(|post| post.matches("word").count()).sum::<usize>(), 500);
    assert!(posts.last().unwrap().ends_with("end"));
    assert!(split_for_discord(&"😀".repeat(3_000)).iter().all(|post| post.encode_utf16().count() <= 2_000));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    // MSGGO-75
    #[test]
    fn no_data_yields_a_tag(
        value in prop_oneof![any::<String>(), "(<script>|</|\"|'|`|\\*|_|\\[|\\]\\(|\\)|javascript:|https://|&|<|>|\n|- |\u{fdd0}|\u{fdd1}){0,12}"],
        key in "[a-z<>\"]{0,8}",
    ) {
        let data = serde_json::json!({ "x": value, "rows": [{ "x": value, key: value }] }).to_string();
        let blocks = [
            text("{{ data.x }} **{{ data.x }}** _{{ data.x }}_ `{{ data.x }}` [{{ data.x }}]({{ data.x }}) [l](https://e.example/{{ data.x }})\n- {{ data.x|raw }}{{ data.x|upper }}{{ data }}"),
            table("data.rows", &[("H", "x")]),
        ];
        let template = Template::compile(&blocks).unwrap();
        for form in [Form::Html, Form::SlackMrkdwn, Form::DiscordMarkdown, Form::Plain, Form::Short, Form::Raw] {
            let rendered = template.render(&input(&data), form, &Limits::DEFAULT).unwrap();
            prop_assert!(!rendered.text.contains(marks::is_mark));
            prop_assert!(!rendered.title.contains('\n') && rendered.title.chars().count() <= 200);
            if let Some(html) = rendered.html {
                let known = ["div", "p", "strong", "em", "code", "a ", "a>", "ul", "li", "br", "table", "thead", "tbody", "tr", "th", "td"];
                for tag in html.split('<').skip(1) {
                    let name = tag.trim_start_matches('/');
                    prop_assert!(known.iter().any(|known| name.starts_with(known)) && !name.starts_with("script"), "<{}", tag);
                }
                for href in html.split("href=\"").skip(1) {
                    prop_assert!(["http://", "https://", "mailto:"].iter().any(|s| href.to_lowercase().starts_with(s)), "{}", href);
                }
            }
            for post in split_for_discord(&rendered.text) {
                prop_assert!(post.encode_utf16().count() <= 2_000);
            }
        }
    }

    #[test]
    fn no_source_panics(source in prop_oneof![
        any::<String>(),
        "(\\{\\{|\\}\\}|\\{%|%\\}|#\\}|\\{#| |data|\\.|x|\\||upper|map\\(v=>|if|for|in|end|else|set|not|is|1|'|\"|\\(|\\)|\\[|\\]|\\?|:|~|-|,|\n){0,40}",
    ], data in any::<Vec<u8>>()) {
        if let Ok(template) = Template::compile(&[text(&source), text("{{ data }}")]) {
            let event = RenderInput { data: br#"{"x":[1,{"a":"b"}]}"#, ..input("{}") };
            for form in [Form::Html, Form::Raw] {
                drop(template.render(&event, form, &Limits::DEFAULT));
                drop(template.render(&RenderInput { data: &data, ..event }, form, &Limits::DEFAULT));
            }
        }
    }
}
