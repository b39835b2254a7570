//! HTTP/1.1 syntax: heads, framing, chunked content. Throughput is in bytes of the input.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sallyport::http1::chunked::{Decoder, Event, write_chunk_header, write_last_chunk};
use sallyport::http1::encode;
use sallyport::http1::fields::ConnectionOptions;
use sallyport::http1::framing::{Framing, request_framing, response_framing};
use sallyport::http1::head::{
    HeadLimits, Method, Parsed, RequestHead, ResponseHead, parse_request, parse_response,
};
use std::hint::black_box;

const LIMITS: HeadLimits = HeadLimits {
    head_size_max: 32 * 1024,
    field_count_max: 100,
    line_size_max: 8 * 1024,
};

const CURL: &[u8] = b"GET /orders/17?expand=lines HTTP/1.1\r\n\
    Host: api.example.test\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

const BROWSER: &[u8] = b"POST /cart/items HTTP/1.1\r\n\
    Host: shop.example.test:8443\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: application/json, text/plain, */*\r\n\
    Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 48\r\n\
    Origin: https://shop.example.test:8443\r\n\
    Connection: keep-alive\r\n\
    Referer: https://shop.example.test:8443/cart\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; seen=1\r\n\
    Sec-Fetch-Dest: empty\r\n\
    Sec-Fetch-Mode: cors\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    X-Request-Start: t=1700000000\r\n\
    Priority: u=0\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: nginx/1.24.0\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Content-Type: application/json\r\nContent-Length: 512\r\nConnection: keep-alive\r\n\
    ETag: \"5f3c-200\"\r\nCache-Control: no-store\r\n\r\n";

fn heads(c: &mut Criterion) {
    let mut group = c.benchmark_group("http1/request_head");
    for (name, buf, fields, framing) in [
        ("curl", CURL, 3, Framing::None),
        ("browser", BROWSER, 16, Framing::Length { remaining: 48 }),
    ] {
        group.throughput(Throughput::Bytes(buf.len() as u64));
        let mut head = RequestHead::new();
        group.bench_function(name, |b| {
            b.iter(|| parse_request(black_box(buf), &LIMITS, &mut head));
        });
        assert_eq!(parse_request(buf, &LIMITS, &mut head), Ok(Parsed::Complete));
        assert_eq!(head.fields.len(), fields);
        group.bench_function(format!("{name}/framing and connection"), |b| {
            b.iter(|| {
                (
                    request_framing(black_box(&head), buf),
                    ConnectionOptions::of(&head.fields, buf),
                )
            });
        });
        assert_eq!(request_framing(&head, buf), Ok(framing));
    }
    group.bench_function("browser/a byte at a time", |b| {
        let mut head = RequestHead::new();
        b.iter(|| {
            for size in 1..BROWSER.len() {
                assert_eq!(
                    parse_request(&BROWSER[..size], &LIMITS, &mut head),
                    Ok(Parsed::Partial)
                );
            }
            assert_eq!(
                parse_request(BROWSER, &LIMITS, &mut head),
                Ok(Parsed::Complete)
            );
        });
    });
    group.finish();

    let mut group = c.benchmark_group("http1/response_head");
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    let mut head = ResponseHead::new();
    group.bench_function("nginx", |b| {
        b.iter(|| {
            parse_response(black_box(RESPONSE), &LIMITS, &mut head)
                .and_then(|_| response_framing(&head, RESPONSE, Method::Get))
        });
    });
    assert_eq!(
        response_framing(&head, RESPONSE, Method::Get),
        Ok(Framing::Length { remaining: 512 })
    );
    group.finish();
}

fn encoding(c: &mut Criterion) {
    let mut head = RequestHead::new();
    assert_eq!(
        parse_request(BROWSER, &LIMITS, &mut head),
        Ok(Parsed::Complete)
    );
    let mut group = c.benchmark_group("http1/encode");
    group.throughput(Throughput::Bytes(BROWSER.len() as u64));
    let mut out = Vec::with_capacity(2 * BROWSER.len());
    group.bench_function("browser", |b| {
        b.iter(|| {
            out.clear();
            let method = head.method_span.of(BROWSER);
            encode::request_line(
                &mut out,
                method,
                head.path.of(BROWSER),
                head.query.map(|query| query.of(BROWSER)),
                head.version,
            );
            for field in &head.fields {
                encode::field(&mut out, field.name.of(BROWSER), field.value.of(BROWSER));
            }
            encode::head_end(&mut out);
            black_box(&out);
        });
    });
    assert_eq!(out, BROWSER);
    group.finish();
}

fn chunks(c: &mut Criterion) {
    const CONTENT_SIZE: usize = 64 * 1024;
    let mut group = c.benchmark_group("http1/chunked_decode");
    group.throughput(Throughput::Bytes(CONTENT_SIZE as u64));
    for chunk_size in [64, 1024, 16 * 1024] {
        let mut input = Vec::new();
        for _ in 0..CONTENT_SIZE / chunk_size {
            write_chunk_header(&mut input, chunk_size);
            input.resize(input.len() + chunk_size, b'x');
            input.extend_from_slice(b"\r\n");
        }
        write_last_chunk(&mut input, b"");
        group.bench_function(format!("chunks of {chunk_size}"), |b| {
            b.iter_batched_ref(
                Decoder::new,
                |decoder| {
                    let mut content_size = 0;
                    let mut at = 0;
                    loop {
                        let step = decoder.next(&input[at..]).expect("valid chunks");
                        at += step.consumed;
                        match step.event {
                            Event::Data(range) => content_size += range.len(),
                            Event::NeedMore | Event::End => break,
                        }
                    }
                    assert_eq!(content_size, CONTENT_SIZE);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, heads, encoding, chunks);
criterion_main!(benches);
