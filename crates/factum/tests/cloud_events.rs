//! Envelopes as JSON documents, held against the JSON event format of CloudEvents 1.0.2.

use std::collections::BTreeMap;
use std::sync::Arc;

use factum::integration::CloudEventError;
use factum::{Envelope, EventId, Timestamp};
use proptest::prelude::*;

fn read(document: &str) -> Envelope {
    Envelope::from_json(document.as_bytes()).unwrap_or_else(|error| panic!("{error}: {document}"))
}

/// The least that an event has, and what else a test wants to say.
fn with(members: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{members}}}"#)
}

fn refusal(document: &str) -> String {
    Envelope::from_json(document.as_bytes()).expect_err(document).to_string()
}

fn same(a: &Envelope, b: &Envelope) {
    assert_eq!(String::from_utf8_lossy(&a.to_json()), String::from_utf8_lossy(&b.to_json()));
    assert_eq!(a, b);
}

/// The envelope that all examples of the specification share.
fn of_the_specification(id: &str, datacontenttype: &'static str, data: &[u8]) -> Envelope {
    let mut envelope = Envelope::new(id, "/mycontext", "com.example.someevent", data);
    envelope.time = Timestamp::from_micros(1_522_949_460_000_000);
    envelope.datacontenttype = datacontenttype.into();
    envelope.extensions = BTreeMap::from([
        (Arc::from("comexampleextension1"), Arc::from("value")),
        (Arc::from("comexampleothervalue"), Arc::from("5")),
    ]);
    envelope
}

#[test]
fn the_specifications_example_of_binary_data() {
    let document = r#"{
        "specversion" : "1.0",
        "type" : "com.example.someevent",
        "source" : "/mycontext",
        "id" : "A234-1234-1234",
        "time" : "2018-04-05T17:31:00Z",
        "comexampleextension1" : "value",
        "comexampleothervalue" : 5,
        "datacontenttype" : "application/vnd.apache.thrift.binary",
        "data_base64" : "AAEC/w=="
    }"#;
    let expected =
        of_the_specification("A234-1234-1234", "application/vnd.apache.thrift.binary", &[0, 1, 2, 255]);
    same(&read(document), &expected);
}

#[test]
fn the_specifications_example_of_text_that_is_not_json() {
    let document = r#"{
        "specversion" : "1.0",
        "type" : "com.example.someevent",
        "source" : "/mycontext",
        "id" : "B234-1234-1234",
        "time" : "2018-04-05T17:31:00Z",
        "comexampleextension1" : "value",
        "comexampleothervalue" : 5,
        "unsetextension": null,
        "datacontenttype" : "application/xml",
        "data" : "<much wow=\"xml\"/>"
    }"#;
    let expected = of_the_specification("B234-1234-1234", "application/xml", br#"<much wow="xml"/>"#);
    same(&read(document), &expected);
}

#[test]
fn the_specifications_example_of_a_json_object() {
    let document = r#"{
        "specversion" : "1.0",
        "type" : "com.example.someevent",
        "source" : "/mycontext",
        "subject": null,
        "id" : "C234-1234-1234",
        "time" : "2018-04-05T17:31:00Z",
        "comexampleextension1" : "value",
        "comexampleothervalue" : 5,
        "datacontenttype" : "application/json",
        "data" : {
            "appinfoA" : "abc",
            "appinfoB" : 123,
            "appinfoC" : true
        }
    }"#;
    let data = br#"{
            "appinfoA" : "abc",
            "appinfoB" : 123,
            "appinfoC" : true
        }"#;
    same(&read(document), &of_the_specification("C234-1234-1234", "application/json", data));
}

#[test]
fn the_specifications_example_of_a_json_string_without_a_content_type() {
    let document = r#"{
        "specversion" : "1.0",
        "type" : "com.example.someevent",
        "source" : "/mycontext",
        "subject": null,
        "id" : "D234-1234-1234",
        "time" : "2018-04-05T17:31:00Z",
        "comexampleextension1" : "value",
        "comexampleothervalue" : 5,
        "data" : "I'm just a string"
    }"#;
    let expected = of_the_specification("D234-1234-1234", "application/json", br#""I'm just a string""#);
    same(&read(document), &expected);
}

#[test]
fn an_envelope_is_written_by_the_names_of_the_specification() {
    let mut envelope = Envelope::new(
        "7",
        "https://shop.example/ordering",
        "com.example.order-placed.v1",
        *b" {\"a\":1e2}\n",
    );
    envelope.subject = Some("order \"7\"".into());
    envelope.partitionkey = Some("7".into());
    envelope.sequence = Some("0001".into());
    envelope.correlationid = Some("c".into());
    envelope.causationid = Some("6".into());
    envelope.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    envelope.tracestate = Some("a=b".into());
    envelope.dataschema = Some("https://shop.example/schema".into());
    envelope.extensions.insert("tenant".into(), "acme".into());
    envelope.time = Timestamp::from_micros(1);
    assert_eq!(
        String::from_utf8(envelope.to_json()).unwrap(),
        concat!(
            r#"{"specversion":"1.0","id":"7","source":"https://shop.example/ordering","#,
            r#""type":"com.example.order-placed.v1","subject":"order \"7\"","datacontenttype":"application/json","#,
            r#""dataschema":"https://shop.example/schema","partitionkey":"7","sequence":"0001","correlationid":"c","#,
            r#""causationid":"6","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","#,
            r#""tracestate":"a=b","tenant":"acme","time":"1970-01-01T00:00:00.000001Z","data":{"a":1e2}}"#
        )
    );
}

#[test]
fn data_that_is_json_is_kept_as_it_is_written() {
    for data in
        ["null", "1.000000000000000000001", r#""\ud800""#, r#"{"a":1,"a":2}"#, "[ 1 ,\t2 ]", "-0", "1E400"]
    {
        let envelope = read(&with(&format!(r#","datacontenttype":"text/vnd.a+json; v=1","data":{data}"#)));
        assert_eq!(&*envelope.data, data.as_bytes());
        same(&Envelope::from_json(&envelope.to_json()).unwrap(), &envelope);
    }
}

#[test]
fn a_null_payload_is_not_the_absence_of_one() {
    assert_eq!(&*read(&with(r#","data":null"#)).data, b"null");
    assert_eq!(&*read(&with("")).data, b"");
    assert!(!String::from_utf8(read(&with("")).to_json()).unwrap().contains("data\""));
}

#[test]
fn data_that_claims_to_be_json_and_is_not_travels_in_base64() {
    for data in [&b"{"[..], b"\xff", b" ", b"1 2"] {
        let envelope = Envelope::new("1", "urn:s", "t", data);
        assert!(String::from_utf8(envelope.to_json()).unwrap().contains(r#""data_base64":""#));
        same(&Envelope::from_json(&envelope.to_json()).unwrap(), &envelope);
    }
}

#[test]
fn text_in_another_charset_travels_in_base64() {
    let mut envelope = Envelope::new("1", "urn:s", "t", *b"abc");
    for (datacontenttype, member) in [
        ("text/plain", r#""data":"abc""#),
        ("Text/Plain; Charset=\"UTF-8\"", r#""data":"abc""#),
        ("image/svg+xml", r#""data":"abc""#),
        ("text/plain; charset=iso-8859-1", r#""data_base64":"YWJj""#),
        ("application/octet-stream", r#""data_base64":"YWJj""#),
    ] {
        envelope.datacontenttype = datacontenttype.into();
        let document = String::from_utf8(envelope.to_json()).unwrap();
        assert!(document.ends_with(&format!("{member}}}")), "{document}");
        same(&Envelope::from_json(document.as_bytes()).unwrap(), &envelope);
    }
}

#[test]
fn binary_data_without_a_content_type_is_not_taken_for_json() {
    let envelope = read(&with(r#","data_base64":"e30""#));
    assert_eq!((&*envelope.datacontenttype, &*envelope.data), ("application/octet-stream", &b"{}"[..]));
}

#[test]
fn extensions_of_any_type_become_their_canonical_text() {
    let envelope = read(&with(
        r#","a":true,"b":false,"c":-0,"d":2147483647,"e":-2147483648,"f":"","g":null,"sequence":5"#,
    ));
    let text: Vec<_> = envelope.extensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(text, ["a=true", "b=false", "c=0", "d=2147483647", "e=-2147483648", "f="]);
    assert_eq!(envelope.sequence.as_deref(), Some("5"));
}

#[test]
fn an_attribute_that_is_null_is_absent() {
    let envelope = read(&with(
        r#","subject":null,"time":null,"datacontenttype":null,"dataschema":null,"partitionkey":null,"x":null,"data_base64":null"#,
    ));
    same(&envelope, &Envelope::new("1", "/s", "t", []));
}

fn refused_as<const N: usize>(cases: [(String, &str); N]) {
    for (document, expected) in cases {
        assert_eq!(refusal(&document), expected, "{document}");
    }
}

#[test]
fn a_required_attribute_that_is_missing_or_unfit_is_named() {
    const MISSING: &str = "is missing: an event has at least `specversion`, `id`, `source` and `type`";
    let of = |members: &str| format!("{{{members}}}");
    refused_as([
        (of(r#""id":"1","source":"/s","type":"t""#), &format!("`specversion` {MISSING}")),
        (of(r#""specversion":"1.0","id":null,"source":"/s","type":"t""#), &format!("`id` {MISSING}")),
        (of(r#""specversion":"0.3","id":"1""#), r#"`specversion` is "0.3", expected "1.0""#),
        (of(r#""specversion":"1.0","id":7"#), r#"`id` is "7", expected a string"#),
        (
            of(r#""specversion":"1.0","id":"","source":"/s","type":"t""#),
            r#"`id` is "", expected text that is not empty"#,
        ),
        (
            of(r#""specversion":"1.0","id":"1","source":"a b","type":"t""#),
            r#"`source` is "a b", expected a URI such as https://shop.example/ordering"#,
        ),
        (
            "[]".to_owned(),
            "this is no CloudEvent in JSON: invalid type: sequence, expected one JSON object, the event at line 1 \
             column 0",
        ),
    ]);
}

#[test]
fn an_attribute_that_is_unfit_is_named_with_what_was_found_and_what_was_expected() {
    const TIME: &str = r#"`time` is "yesterday", expected a time of RFC 3339 in the years 0 to 9999"#;
    const MEDIA_TYPE: &str = r#"`datacontenttype` is "", expected a media type such as application/json"#;
    const NAME: &str =
        "`Tenant` is the name of an extension attribute, expected lower-case letters and digits in a name";
    const CONTROL: &str = r#"`x` is "a\nb", expected text without control characters and noncharacters"#;
    refused_as([
        (with(r#","time":"yesterday""#), TIME),
        (with(r#","time":5"#), r#"`time` is "5", expected a string"#),
        (with(r#","datacontenttype":"""#), MEDIA_TYPE),
        (with(r#","Tenant":"x""#), NAME),
        (with(r#","x":1.5"#), r#"`x` is "1.5", expected an integer of 32 bits, or a string"#),
        (with(r#","x":2147483648"#), r#"`x` is "2147483648", expected an integer of 32 bits, or a string"#),
        (with(r#","x":[1]"#), r#"`x` is "[1]", expected a string, an integer or a boolean"#),
        (with(r#","x":"a\nb""#), CONTROL),
        (with(r#","subject":"""#), r#"`subject` is "", expected text that is not empty"#),
    ]);
}

#[test]
fn data_that_is_unfit_is_refused() {
    const BASE64: &str = r#"expected a string in Base64 (RFC 4648, section 4)"#;
    const BOTH: &str = "`data` is there beside `data_base64`, expected one of the two";
    const TEXT: &str = r#"`data` is "{}", expected a string, where `datacontenttype` is not JSON"#;
    refused_as([
        (with(r#","data":1,"data_base64":"""#), BOTH),
        (with(r#","data_base64":"?""#), &format!(r#"`data_base64` is "?", {BASE64}"#)),
        (with(r#","data_base64":{}"#), &format!(r#"`data_base64` is "{{}}", {BASE64}"#)),
        (with(r#","datacontenttype":"text/plain","data":{}"#), TEXT),
    ]);
}

#[test]
fn a_member_that_is_there_twice_is_refused_however_its_name_is_written() {
    refused_as([
        (with(r#","id":"2""#), "`id` is there twice: leave one out"),
        (with(r#","x":"1","\u0078":"2""#), "`x` is there twice: leave one out"),
        (with(r#","data":1,"data":2"#), "`data` is there twice: leave one out"),
    ]);
}

#[test]
fn what_is_no_json_is_refused() {
    for document in ["", "{", "{}x", "\u{feff}{}", r#"{"a":}"#, "null", r#"{"\ud800":1}"#, r#"{"a":"\x"}"#] {
        assert!(matches!(
            Envelope::from_json(document.as_bytes()),
            Err(CloudEventError::Unreadable(_) | CloudEventError::Missing(_))
        ));
    }
    assert!(matches!(Envelope::from_json(b"{\"a\":\"\xff\"}"), Err(CloudEventError::Unreadable(_))));
}

#[test]
fn a_document_over_a_limit_is_refused() {
    let many: String = (0..65).map(|n| format!(r#","x{n}":"""#)).collect();
    assert_eq!(refusal(&with(&many)), "the envelope has 65 extension attributes, the limit is 64");
    let more: String = (0..300).map(|n| format!(r#","x{n}":"""#)).collect();
    assert!(refusal(&with(&more)).contains("more than 256 members"));
    let key = format!(r#","partitionkey":"{}""#, "k".repeat(513));
    assert_eq!(refusal(&with(&key)), "`partitionkey` has 513 bytes, the limit is 512");
    let long = format!(r#","x":"{}""#, "x".repeat(8 << 10));
    assert!(refusal(&with(&long)).starts_with("the envelope without its data has 8"));
    let large = format!(r#","data":"{}""#, "x".repeat(16 << 20));
    assert_eq!(refusal(&with(&large)), "data has 16777218 bytes, the limit is 16777216");
    assert_eq!(
        refusal(&" ".repeat((24 << 20) + 1)),
        "the document has 25165825 bytes, the limit is 25165824"
    );
}

fn text() -> impl Strategy<Value = Arc<str>> {
    "[ -~äß€😀]{1,30}".prop_map(Arc::from)
}

prop_compose! {
    fn data()(json in any::<bool>(), object in "[ -~]{0,20}", bytes in prop::collection::vec(any::<u8>(), 0..40))
        -> (&'static str, Vec<u8>) {
        match (json, bytes.len() % 3) {
            (true, _) => ("application/json", serde_json::to_vec(&(object, bytes)).unwrap()),
            (false, 0) => ("text/plain", bytes),
            (false, 1) => ("application/json", bytes.trim_ascii().to_vec()),
            (false, _) => ("application/octet-stream", bytes),
        }
    }
}

prop_compose! {
    fn envelope()(
        (id, r#type) in (text(), text()),
        source in "[a-z][a-z0-9+.-]{0,5}:[!#-;=?-Z_a-zäß]{1,20}",
        optional in prop::collection::vec(prop::option::of(text()), 7),
        micros in prop_oneof![Just(0), -62_167_219_200_000_000_i64..253_402_300_800_000_000],
        dataschema in prop::option::of("urn:[a-z]{1,9}"),
        extensions in prop::collection::btree_map("x[a-z0-9]{0,18}", "[ -~€]{0,20}", 0..8),
        (datacontenttype, data) in data(),
    ) -> Envelope {
        let mut optional = optional.into_iter();
        let mut next = || optional.next().flatten();
        let mut envelope = Envelope::new(&*id, source, r#type.to_string(), data);
        envelope.subject = next();
        envelope.partitionkey = next();
        envelope.sequence = next();
        envelope.correlationid = next();
        envelope.causationid = next().map(|id| EventId::from(&*id));
        envelope.traceparent = next();
        envelope.tracestate = next();
        envelope.time = Timestamp::from_micros(micros);
        envelope.datacontenttype = datacontenttype.into();
        envelope.dataschema = dataschema.map(Arc::from);
        envelope.extensions = extensions.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        envelope
    }
}

proptest! {
    #[test]
    fn an_envelope_that_may_leave_arrives_as_it_was(envelope in envelope()) {
        prop_assert_eq!(envelope.check_limits(), Ok(()));
        let document = envelope.to_json();
        let value: serde_json::Value = serde_json::from_slice(&document).unwrap();
        prop_assert_eq!(&value["specversion"], "1.0");
        prop_assert_eq!(Envelope::from_json(&document), Ok(envelope));
    }

    #[test]
    fn what_is_read_can_be_written_and_read_again(members in "(,\"[a-z]{1,2}\":([0-9]{1,3}|\"[ !#-Z]{0,9}\"|true|null)){0,6}") {
        if let Ok(envelope) = Envelope::from_json(with(&members).as_bytes()) {
            prop_assert_eq!(Envelope::from_json(&envelope.to_json()), Ok(envelope));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Envelope::from_json(&bytes);
    }

    #[test]
    fn a_document_that_was_damaged_is_read_or_refused(envelope in envelope(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut document = envelope.to_json();
        let at = at.index(document.len());
        document[at] = byte;
        if let Ok(envelope) = Envelope::from_json(&document) {
            prop_assert_eq!(Envelope::from_json(&envelope.to_json()), Ok(envelope));
        }
    }
}
