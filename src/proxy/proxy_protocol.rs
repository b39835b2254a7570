//! The PROXY protocol, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt, sections 2.1 and 2.2): the client's address as
//! a load balancer in front of us saw it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1 with its CRLF; version 2 is bounded by what we accept below.
const V1_SIZE_MAX: usize = 107;
const V2_SIZE_MAX: usize = 16 + 2048;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Header {
    NeedMore,
    /// So many bytes belong to the header. Without addresses (LOCAL, UNKNOWN) the socket's own stand.
    Done {
        size: usize,
        source: Option<SocketAddr>,
        destination: Option<SocketAddr>,
    },
}

/// # Errors
/// What is wrong with the header: the connection is closed, since nothing behind it can be trusted.
pub fn parse(input: &[u8]) -> Result<Header, &'static str> {
    if input.is_empty() {
        return Ok(Header::NeedMore);
    }
    if V2_SIGNATURE.starts_with(&input[..input.len().min(12)]) {
        return parse_v2(input);
    }
    if b"PROXY ".starts_with(&input[..input.len().min(6)]) {
        return parse_v1(input);
    }
    Err("no PROXY protocol header")
}

fn parse_v1(input: &[u8]) -> Result<Header, &'static str> {
    let Some(end) = memchr::memmem::find(&input[..input.len().min(V1_SIZE_MAX)], b"\r\n") else {
        return if input.len() >= V1_SIZE_MAX {
            Err("PROXY protocol header is too long")
        } else {
            Ok(Header::NeedMore)
        };
    };
    let line =
        std::str::from_utf8(&input[..end]).map_err(|_| "PROXY protocol header is not ASCII")?;
    let size = end + 2;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or("PROXY protocol header has no family")?;
    if family == "UNKNOWN" {
        return Ok(Header::Done {
            size,
            source: None,
            destination: None,
        });
    }
    let mut address = || -> Result<IpAddr, &'static str> {
        let text = words
            .next()
            .ok_or("PROXY protocol header lacks an address")?;
        match family {
            "TCP4" => text
                .parse::<Ipv4Addr>()
                .map(IpAddr::V4)
                .map_err(|_| "PROXY protocol address is not IPv4"),
            "TCP6" => text
                .parse::<Ipv6Addr>()
                .map(IpAddr::V6)
                .map_err(|_| "PROXY protocol address is not IPv6"),
            _ => Err("PROXY protocol family is unknown"),
        }
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || -> Result<u16, &'static str> {
        let text = words.next().ok_or("PROXY protocol header lacks a port")?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|_| digits)
            .ok_or("PROXY protocol port is not a number")
    };
    let (source_port, destination_port) = (port()?, port()?);
    if words.next().is_some() {
        return Err("PROXY protocol header has too many words");
    }
    Ok(Header::Done {
        size,
        source: Some(SocketAddr::new(source, source_port)),
        destination: Some(SocketAddr::new(destination, destination_port)),
    })
}

fn parse_v2(input: &[u8]) -> Result<Header, &'static str> {
    let Some(fixed) = input.first_chunk::<16>() else {
        return Ok(Header::NeedMore);
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let size = 16 + length;
    if size > V2_SIZE_MAX {
        return Err("PROXY protocol header is too long");
    }
    if fixed[12] >> 4 != 2 {
        return Err("PROXY protocol version is unknown");
    }
    let Some(body) = input.get(16..size) else {
        return Ok(Header::NeedMore);
    };
    let none = Header::Done {
        size,
        source: None,
        destination: None,
    };
    match fixed[12] & 0xf {
        0 => return Ok(none),
        1 => {}
        _ => return Err("PROXY protocol command is unknown"),
    }
    let port = |at: usize| {
        body.get(at..at + 2)
            .map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    match fixed[13] >> 4 {
        1 => {
            let address = |at: usize| {
                body.get(at..at + 4)?
                    .try_into()
                    .ok()
                    .map(|bytes: [u8; 4]| IpAddr::from(bytes))
            };
            addresses(size, address(0).zip(port(8)), address(4).zip(port(10)))
        }
        2 => {
            let address = |at: usize| {
                body.get(at..at + 16)?
                    .try_into()
                    .ok()
                    .map(|bytes: [u8; 16]| IpAddr::from(bytes))
            };
            addresses(size, address(0).zip(port(32)), address(16).zip(port(34)))
        }
        _ => Ok(none),
    }
}

fn addresses(
    size: usize,
    source: Option<(IpAddr, u16)>,
    destination: Option<(IpAddr, u16)>,
) -> Result<Header, &'static str> {
    match (source, destination) {
        (Some((source, source_port)), Some((destination, destination_port))) => Ok(Header::Done {
            size,
            source: Some(SocketAddr::new(source, source_port)),
            destination: Some(SocketAddr::new(destination, destination_port)),
        }),
        _ => Err("PROXY protocol header is too short for its family"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn version_1_and_2_headers() {
        let v4 = [10, 0, 0, 1, 192, 0, 2, 1, 0x1f, 0x90, 0x20, 0xfb];
        let mut v6 = [0u8; 36];
        (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 80, 81);
        let done = |size, pair: Option<(&str, &str)>| {
            Ok(Header::Done {
                size,
                source: pair.map(|pair| pair.0.parse().unwrap()),
                destination: pair.map(|pair| pair.1.parse().unwrap()),
            })
        };
        let rows: Vec<(&str, Vec<u8>, Result<Header, ()>)> = vec![
            (
                "2.1 TCP4",
                b"PROXY TCP4 10.0.0.1 192.0.2.1 8080 8443\r\nGET".to_vec(),
                done(41, Some(("10.0.0.1:8080", "192.0.2.1:8443"))),
            ),
            (
                "2.1 TCP6",
                b"PROXY TCP6 ::1 ::2 80 81\r\n".to_vec(),
                done(26, Some(("[::1]:80", "[::2]:81"))),
            ),
            (
                "2.1 UNKNOWN",
                b"PROXY UNKNOWN anything\r\n".to_vec(),
                done(24, None),
            ),
            (
                "2.1 part",
                b"PROXY TCP4 10.0".to_vec(),
                Ok(Header::NeedMore),
            ),
            (
                "2.1 family and address differ",
                b"PROXY TCP4 ::1 ::2 80 81\r\n".to_vec(),
                Err(()),
            ),
            (
                "2.1 signed port",
                b"PROXY TCP4 10.0.0.1 10.0.0.2 +80 81\r\n".to_vec(),
                Err(()),
            ),
            (
                "2.1 port too large",
                b"PROXY TCP4 10.0.0.1 10.0.0.2 80 65536\r\n".to_vec(),
                Err(()),
            ),
            (
                "2.1 too many words",
                b"PROXY TCP4 10.0.0.1 10.0.0.2 80 81 82\r\n".to_vec(),
                Err(()),
            ),
            (
                "2.1 too long",
                [b"PROXY TCP4 ".as_slice(), &[b'1'; 120]].concat(),
                Err(()),
            ),
            (
                "2.2 v4",
                v2(1, 0x11, &v4),
                done(28, Some(("10.0.0.1:8080", "192.0.2.1:8443"))),
            ),
            (
                "2.2 v6",
                v2(1, 0x21, &v6),
                done(52, Some(("[::1]:80", "[::2]:81"))),
            ),
            ("2.2 LOCAL", v2(0, 0, &[]), done(16, None)),
            (
                "2.2 TLVs are skipped",
                v2(1, 0x11, &[&v4[..], &[3, 0, 1, 9]].concat()),
                done(32, Some(("10.0.0.1:8080", "192.0.2.1:8443"))),
            ),
            ("2.2 short body", v2(1, 0x11, &v4[..8]), Err(())),
            ("2.2 unknown command", v2(2, 0x11, &v4), Err(())),
            (
                "2.2 part",
                v2(1, 0x11, &v4)[..20].to_vec(),
                Ok(Header::NeedMore),
            ),
            ("no header", b"GET / HTTP/1.1\r\n".to_vec(), Err(())),
            ("TLS without header", vec![0x16, 3, 1], Err(())),
        ];
        for (rule, input, expected) in rows {
            assert_eq!(parse(&input).map_err(|_| ()), expected, "{rule}");
        }
    }
}
