//! Every field that a record can carry: its type on the wire, what it means, and an example.

/// How a value travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A JSON string, also for numbers and truth values.
    Text,
    /// A JSON string in lower case.
    Lower,
    /// A JSON number.
    Integer,
    /// A JSON object.
    Object,
    /// A JSON array.
    Array,
}

/// A field of the vendor.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// How its value travels.
    pub kind: Kind,
    /// What it means.
    pub description: &'static str,
    /// An example as JSON text; for [`Kind::Text`] and [`Kind::Lower`] without its quotes.
    pub sample: &'static str,
}

const fn text(name: &'static str, description: &'static str, sample: &'static str) -> Field {
    Field { name, kind: Kind::Text, description, sample }
}

const fn of(kind: Kind, name: &'static str, description: &'static str, sample: &'static str) -> Field {
    Field { name, kind, description, sample }
}

/// How many fields there are.
pub const COUNT: usize = FIELDS_TABLE.len();

/// All fields, sorted by name.
pub static FIELDS: &[Field] = FIELDS_TABLE;

const FIELDS_TABLE: &[Field] = &[
    text("accept_language", "Languages that the recipient's browser prefers", "en-US"),
    text("binding", "Binding that sent the message", "promotions"),
    text("binding_group", "Group of that binding", "marketing"),
    text("bounce_class", "Number of the class of the refusal", "10"),
    text("campaign_id", "Campaign that the message belongs to", "Spring Sale"),
    text("conn_name", "Name of the connection to the remote server", "mx1.example.com"),
    text("conn_stage", "Stage of the SMTP conversation in which this happened", "8"),
    text("customer_id", "Number of the account", "1"),
    text("delv_method", "Protocol by which the message is delivered", "esmtp"),
    text(
        "device_token",
        "Token of the device that a push message went to",
        "45c19189783f867973f6e6a5cca60061ffe4fa77c547150563a1192fa9847f8a",
    ),
    text("dr_latency", "Time until the delivery report came, in seconds", "0.02"),
    text("duration", "How long the adjustment lasts, in seconds", "3600"),
    text("error_code", "Code by which the remote server named its refusal", "554"),
    text("event_id", "Unique id of the event", "evt_01HF7YAT00000000000000001F"),
    text("fbtype", "Type of the feedback report", "abuse"),
    text("friendly_from", "Sender as the recipient sees it", "sender@example.com"),
    of(
        Kind::Object,
        "geo_ip",
        "Place of the recipient, by the address",
        r#"{"country":"US","region":"MD","city":"Columbia","latitude":39.1749,"longitude":-76.8375}"#,
    ),
    text("ip_address", "Address of the other side: the remote server, or the recipient's client", "192.0.2.10"),
    text("ip_pool", "Pool of addresses that the message was sent from", "shared"),
    text("mailfrom", "Envelope sender of the message", "sender@example.com"),
    text("message_id", "Id of the message", "000443ee14578172be22"),
    text("msg_batchname", "Spool batch of the message", "2014-12-11-17"),
    text("msg_from", "Envelope sender of the message", "bounces@example.com"),
    text("msg_size", "Size of the message in bytes", "1337"),
    text("msg_spoolname", "Spool file of the message", "0/45/1F4A3B5C"),
    text("node_name", "Name of the node that wrote the event", "node1.example.com"),
    text("num_retries", "Attempts before this one", "2"),
    text("queue_time", "Time in the queue in milliseconds", "12"),
    text("raw_rcpt_to", "Recipient exactly as it was given", "Recipient@example.com"),
    text("raw_reason", "Exact text of the remote server", "550 5.1.1 Mailbox unavailable (198.51.100.7)"),
    of(Kind::Object, "rcpt_meta", "Metadata of the recipient", r#"{"customKey":"customValue"}"#),
    of(Kind::Object, "rcpt_subs", "Substitution data of the recipient", r#"{"country":"US"}"#),
    of(Kind::Array, "rcpt_tags", "Tags of the recipient", r#"["male","US"]"#),
    of(Kind::Lower, "rcpt_to", "Recipient in lower case", "recipient@example.com"),
    text("rcpt_type", "`cc`, `bcc`, `archive` or `original`", "original"),
    text("reason", "Text of the remote server, addresses masked", "550 5.1.1 Mailbox unavailable (a.b.c.d)"),
    text("recv_method", "Protocol by which the message came in", "rest"),
    text("remote_addr", "Address of the client that injected the message", "203.0.113.4"),
    text("report_by", "Address of the entity that reported the message as spam", "server.example.com"),
    text("report_to", "Address that the report is for", "abuse.example.com"),
    text("routing_domain", "Domain that the message is routed by", "example.com"),
    text("sending_ip", "Address that the message was sent from", "198.51.100.7"),
    text("sms_coding", "Data coding scheme of the SMS", "ASCII"),
    text("sms_dst", "Destination address of the SMS", "7876712656"),
    text("sms_dst_npi", "Numbering plan of the destination", "E164"),
    text("sms_dst_ton", "Type of number of the destination", "International"),
    of(Kind::Array, "sms_remoteids", "Ids that the carrier gave to the parts of the SMS", r#"["0000","0001","0002","0003","0004"]"#),
    of(Kind::Integer, "sms_segments", "Parts that the SMS was split into", "5"),
    text("sms_src", "Source address of the SMS", "1234"),
    text("sms_src_npi", "Numbering plan of the source", "E164"),
    text("sms_src_ton", "Type of number of the source", "Unknown"),
    text("sms_text", "Text of the SMS", "lol"),
    text("start", "When the adjustment began, in Unix seconds", "1460989507"),
    text("stat_state", "State that the report gives", "delivered"),
    text("stat_type", "Type of the report", "SMSC Delivery"),
    text("subaccount_id", "Number of the subaccount", "101"),
    text("subject", "Subject of the message", "Summer deals are here!"),
    text("target_link_name", "Name of the link", "Example Link Name"),
    text("target_link_url", "URL of the link", "https://example.com/offer"),
    text("template_id", "Id of the template", "templ-1234"),
    text("template_version", "Version of the template", "1"),
    text("timestamp", "When it happened, in Unix seconds", "1460989507"),
    text("transmission_id", "Id of the transmission", "65832150921904138"),
    text("type", "Key of the event", ""),
    text("user_agent", "Browser or mail client of the recipient", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_3)"),
    text("user_str", "Additional text of the report", "Additional Example Information"),
];

/// Place of a field in [`FIELDS`].
pub fn index(name: &str) -> Option<usize> {
    FIELDS.binary_search_by(|field| field.name.cmp(name)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_sorted_and_their_samples_fit_their_kinds() {
        assert!(FIELDS.is_sorted_by(|a, b| a.name < b.name));
        for field in FIELDS {
            assert_eq!(index(field.name).map(|place| FIELDS[place].name), Some(field.name));
            let sample = || serde_json::from_str::<serde_json::Value>(field.sample).expect(field.name);
            match field.kind {
                Kind::Text | Kind::Lower => assert!(!field.sample.contains(['"', '\\']), "{}", field.name),
                Kind::Integer => assert!(sample().is_i64()),
                Kind::Object => assert!(sample().is_object()),
                Kind::Array => assert!(sample().is_array()),
            }
        }
        assert_eq!(index("nothing"), None);
    }
}
