//! Drawings of 24 by 24, as strokes of the present colour. Made for this console.

use maud::{Markup, PreEscaped, html};

/// An icon by name; decorative, so the words beside it must say the same. An unknown name draws a dot.
pub fn icon(name: &str) -> Markup {
    let path = match name {
        "overview" => "M4 13h6V4H4zM14 20h6v-9h-6zM4 20h6v-3H4zM14 7h6V4h-6z",
        "inbox" => "M4 13l2.5-8h11L20 13v6H4zM4 13h4.5l1.5 3h4l1.5-3H20",
        "events" => "M13 3L5 13h6l-1 8 9-11h-6z",
        "templates" => "M5 4h14v4H5zM5 12h7v8H5zM16 12h3v8h-3z",
        "targets" => "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 12h.01",
        "webhooks" => "M9 8.5a3.5 3.5 0 1 1 5.3 3L17 16M12 9.5l-3 6.5H4.5M7 13.2A3.5 3.5 0 1 0 9.5 18H17M17 14.5a3 3 0 1 1-2 5",
        "deliveries" => "M4 12l16-8-6 16-3-7zM11 13l9-9",
        "messages" => "M4 6h16v12H4zM4 7l8 6 8-6",
        "keys" => "M8 11.5a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM11 12.500L19.500 4M16 7.500l3 3M13.500 10l2 2",
        "domains" => "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM4 12h16M12 4c3 3 3 13 0 16M12 4c-3 3-3 13 0 16",
        "bins" => "M5 7h14l-1.2 13H6.2zM4 7h16M9 7l1-3h4l1 3M10 11v5M14 11v5",
        "members" => {
            "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM3 20c0-4 3-6 6-6s6 2 6 6M16 4.5a3.5 3.5 0 0 1 0 6.5M17.5 14.5c2 .7 3.5 2.5 3.5 5.5"
        }
        "settings" => "M4 7h9M17 7h3M15 5v4M4 17h3M11 17h9M9 15v4M4 12h3M11 12h9M9 10v4",
        "audit" => "M6 3h9l3 3v15H6zM9 9h6M9 13h6M9 17h4",
        "api" => "M8 6l-5 6 5 6M16 6l5 6-5 6M13.5 4l-3 16",
        "search" => "M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM15.5 15.5L20 20",
        "menu" => "M4 7h16M4 12h16M4 17h16",
        "more" => "M4 12a1 1 0 1 0 2 0a1 1 0 1 0-2 0M11 12a1 1 0 1 0 2 0a1 1 0 1 0-2 0M18 12a1 1 0 1 0 2 0a1 1 0 1 0-2 0",
        "user" => "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20c.7-4 3.8-6 7.5-6s6.800 2 7.5 6",
        "workspace" => "M4 20V6l8-3v17M12 9l8 2.500V20M3 20h18M8 9h.01M8 13h.01M16 15h.01",
        "down" => "M6 9.500l6 6 6-6",
        "up" => "M6 14.500l6-6 6 6",
        "grip" => "M9 6h.01M15 6h.01M9 12h.01M15 12h.01M9 18h.01M15 18h.01",
        "next" => "M9.500 6l6 6-6 6",
        "sun" => {
            "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 3v2M12 19v2M3 12h2M19 12h2M5.600 5.600l1.400 1.400M17 17l1.400 1.400M5.600 18.400L7 17M17 7l1.400-1.400"
        }
        "moon" => "M19.500 14.500A8 8 0 0 1 9.500 4.500a8 8 0 1 0 10 10z",
        "auto" => "M4 5h16v11H4zM9 20h6M12 16v4",
        "plus" => "M12 5v14M5 12h14",
        "ok" => "M5 12.500l4.500 4.500L19 7.500",
        "bad" => "M6.500 6.500l11 11M17.500 6.500l-11 11",
        "warn" => "M12 4L2.500 20h19zM12 10v4M12 17h.01",
        "info" => "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 11v5M12 8h.01",
        "wait" => "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4.500l3 1.500",
        "pause" => "M9 6v12M15 6v12",
        "stop" => "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM6.500 17.500l11-11",
        "play" => "M8 5.500v13l10-6.500z",
        "again" => "M19 12a7 7 0 1 1-2.200-5.100M19 4v4.500h-4.500",
        "copy" => "M9 9h11v11H9zM5 15H4V4h11v1",
        "edit" => "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
        "trash" => "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.500 11v5M13.500 11v5",
        "leave" => "M14 4H5v16h9M10 12h10M17 9l3 3-3 3",
        "help" => "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM9.700 9.700a2.300 2.300 0 1 1 3.300 2c-.7.4-1 .8-1 1.600M12 16h.01",
        "link" => "M10 14l4-4M8.500 11L6 13.500a3.500 3.500 0 0 0 5 5L13.500 16M10.500 8L13 5.500a3.500 3.500 0 0 1 5 5L15.500 13",
        "lock" => "M6 11h12v9H6zM8.500 11V8a3.500 3.500 0 0 1 7 0v3",
        "send" => "M4 12l16-7-5 15-3.500-6z",
        "filter" => "M4 5h16l-6 8v6l-4-2v-4z",
        _ => "M12 12h.01",
    };
    html! {
        svg.icon viewBox="0 0 24 24" aria-hidden="true" focusable="false" { (PreEscaped(format!("<path d=\"{path}\"/>"))) }
    }
}
