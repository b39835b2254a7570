use super::*;

const LIMITS: HeadLimits = HeadLimits {
    head_size_max: 256,
    field_count_max: 4,
    line_size_max: 64,
};

#[test]
fn spans_point_at_the_parts_of_a_request() {
    let buf = b"\r\nGET /a?b=c HTTP/1.1\r\nHost: x.test:80 \r\nEmpty:\t\r\n\r\nrest";
    let mut head = RequestHead::new();
    assert_eq!(parse_request(buf, &LIMITS, &mut head), Ok(Parsed::Complete));
    assert_eq!(head.method, Method::Get);
    assert_eq!(head.method_span.of(buf), b"GET");
    assert_eq!(head.target.of(buf), b"/a?b=c");
    assert_eq!(head.path.of(buf), b"/a");
    assert_eq!(head.query.map(|span| span.of(buf)), Some(&b"b=c"[..]));
    assert_eq!(
        head.authority.map(|span| span.of(buf)),
        Some(&b"x.test:80"[..])
    );
    assert_eq!(head.first(buf, Name::Host), Some(&b"x.test:80"[..]));
    assert_eq!(head.fields.len(), 2);
    assert!(head.fields[1].value.is_empty());
    assert_eq!(head.size, buf.len() - "rest".len());
}

#[test]
fn spans_point_at_the_parts_of_a_response() {
    let table: [(&[u8], u16, &[u8]); 4] = [
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", 200, b"OK"),
        (b"HTTP/1.0 404 \r\nA: b\r\n\r\n", 404, b""),
        (b"HTTP/1.1 204\r\nA: b\r\n\r\n", 204, b""),
        (
            b"HTTP/1.1 500 \xc3\xa9 x\r\nA: b\r\n\r\n",
            500,
            b"\xc3\xa9 x",
        ),
    ];
    let mut head = ResponseHead::new();
    for (buf, status, reason) in table {
        assert_eq!(
            parse_response(buf, &LIMITS, &mut head),
            Ok(Parsed::Complete)
        );
        assert_eq!((head.status, head.reason.of(buf)), (status, reason));
        assert_eq!(head.size, buf.len());
        assert_eq!(head.fields[0].value.of(buf), b"b");
    }
}

/// Both sides of each bound, in bytes with CRLF.
#[test]
fn bounds_of_lines_count_and_head() {
    let request = |target: usize, lines: &[usize]| {
        let mut buf = format!("GET /{} HTTP/1.1\r\nHost: x\r\n", "p".repeat(target - 1));
        for size in lines {
            buf += &format!("a: {}\r\n", "v".repeat(size - 5));
        }
        buf + "\r\n"
    };
    let table = [
        ("request line of 64", request(49, &[]), Ok(Parsed::Complete)),
        (
            "request line of 65",
            request(50, &[]),
            Err(Error::RequestLineTooLong),
        ),
        ("field line of 64", request(1, &[64]), Ok(Parsed::Complete)),
        (
            "field line of 65",
            request(1, &[65]),
            Err(Error::FieldLineTooLong),
        ),
        ("4 fields", request(1, &[8, 8, 8]), Ok(Parsed::Complete)),
        (
            "5 fields",
            request(1, &[8, 8, 8, 8]),
            Err(Error::TooManyFields),
        ),
        (
            "head of 256",
            request(49, &[64, 64, 53]),
            Ok(Parsed::Complete),
        ),
        (
            "head of 257",
            request(49, &[64, 64, 54]),
            Err(Error::HeadTooLarge),
        ),
    ];
    for (name, buf, want) in table {
        let mut head = RequestHead::new();
        assert_eq!(
            parse_request(buf.as_bytes(), &LIMITS, &mut head),
            want,
            "{name}"
        );
    }
}

#[test]
fn endless_heads_are_refused_before_their_end() {
    let table: [(String, Error); 4] = [
        (
            format!("GET /{}", "a".repeat(64)),
            Error::RequestLineTooLong,
        ),
        (
            format!("GET / HTTP/1.1\r\na: {}", "a".repeat(64)),
            Error::FieldLineTooLong,
        ),
        (
            format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(5)),
            Error::TooManyFields,
        ),
        ("A".repeat(METHOD_SIZE_MAX + 1), Error::Method),
    ];
    for (buf, want) in table {
        let mut head = RequestHead::new();
        assert_eq!(
            parse_request(buf.as_bytes(), &LIMITS, &mut head),
            Err(want),
            "{buf}"
        );
    }
}

#[test]
fn the_method_of_a_refused_head_is_read_where_it_can_be() {
    let table: [(&[u8], Option<Method>); 9] = [
        (b"HEAD / HTTP/1.1\r\nHost", Some(Method::Head)),
        (b"\r\nHEAD \x01", Some(Method::Head)),
        (b"HEAD ", Some(Method::Head)),
        (b"GET / HTTP/9.9\r\n", Some(Method::Get)),
        (b"head /", Some(Method::Other)),
        (b"HEAD", None),
        (b"HEAD\r\n x", None),
        (b" HEAD /", None),
        (b"", None),
    ];
    for (buf, want) in table {
        assert_eq!(method_begun(buf), want, "{buf:?}");
    }
    let long = "A".repeat(METHOD_SIZE_MAX) + " /";
    assert_eq!(method_begun(long.as_bytes()), Some(Method::Other));
    assert_eq!(method_begun(format!("A{long}").as_bytes()), None);
}

#[test]
fn what_a_refused_head_asked_for_is_told_as_far_as_it_is_there() {
    let table: [(&[u8], &[u8], &[u8]); 11] = [
        (
            b"GET /a?b HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            b"GET",
            b"/a?b",
        ),
        (b"GET /a?b HTTP/1.1\nHost: x\n\n", b"GET", b"/a?b"),
        (b"\r\nGET /a HTTP/1.1\r\n", b"GET", b"/a"),
        (b"PRI * HTTP/2.0\r\n\r\n", b"PRI", b"*"),
        (b"GET /a b HTTP/1.1\r\n", b"GET", b"/a b"),
        (b"GET /HTTP/1.1\r\n", b"GET", b"/HTTP/1.1"),
        (b"GET /a", b"GET", b"/a"),
        (b"GET", b"", b"GET"),
        (b"G\x01T /a HTTP/1.1\r\n", b"", b"G\x01T /a HTTP/1.1"),
        (b" HTTP/1.1\r\n", b"", b" HTTP/1.1"),
        (b"", b"", b""),
    ];
    for (buf, method, target) in table {
        assert_eq!(line_begun(buf), (method, target), "{buf:?}");
    }
}

#[test]
fn a_byte_at_a_time_is_searched_once() {
    let mut head = RequestHead::new();
    let buf = b"GET / HTTP/1.1\r\nHost: x\r\nab: cd\r\n\r\n";
    for size in 1..buf.len() {
        assert_eq!(
            parse_request(&buf[..size], &LIMITS, &mut head),
            Ok(Parsed::Partial)
        );
        assert_eq!(head.scan.searched, size);
    }
    assert_eq!(parse_request(buf, &LIMITS, &mut head), Ok(Parsed::Complete));
    assert!(head.scan.is_fresh());
}

#[test]
fn cleared_head_parses_another_connections_bytes() {
    let mut head = RequestHead::new();
    let one = b"POST /long/enough HTTP/1.1\r\nHost: other.test\r\nA: b";
    assert_eq!(parse_request(one, &LIMITS, &mut head), Ok(Parsed::Partial));
    head.clear();
    let two = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nand forty more bytes of content behind it";
    assert_eq!(parse_request(two, &LIMITS, &mut head), Ok(Parsed::Complete));
    assert_eq!(head.method, Method::Get);
}

/// The strict reading (httparse) and the explaining one (ours) must draw the same lines, in
/// lines long enough for httparse's vector code too.
#[test]
fn each_byte_is_judged_alike_by_both_readings() {
    let limits = HeadLimits {
        line_size_max: 256,
        ..LIMITS
    };
    let judge = |method: &[u8], line: &[u8]| {
        let buf = [method, b" / HTTP/1.1\r\nHost: x\r\n", line, b"\r\n\r\n"].concat();
        parse_request(&buf, &limits, &mut RequestHead::new()) == Ok(Parsed::Complete)
    };
    for byte in 0..=255u8 {
        if !matches!(byte, b'\r' | b'\n' | b' ') {
            let method = [b"G", &[byte][..], b"T"].concat();
            let want = fields::is_tchar(byte);
            assert_eq!(judge(&method, b"a: b"), want, "{byte:#x} in a method");
        }
        if matches!(byte, b'\r' | b'\n' | b':') {
            continue;
        }
        for padding in [&b""[..], &[b'p'; 7], &[b'p'; 40]] {
            let name = [padding, &[byte], padding, b"n: v"].concat();
            let value = [b"n: v", padding, &[byte], padding, b"v"].concat();
            for (line, want) in [
                (&name, fields::is_tchar(byte)),
                (&value, fields::is_value_byte(byte)),
            ] {
                assert_eq!(judge(b"GET", line), want, "{byte:#x} in {line:?}");
                assert_eq!(fields::check_line(line).is_ok(), want, "{byte:#x}");
            }
        }
    }
}
