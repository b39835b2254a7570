//! Lists (KONG.md §2.4): what a query asks for, cursors, filters on tags, the path of the next page.
//!
//! A list goes by ascending place (the id of a row), so a page starts behind the last row of the one before and no row
//! comes twice, whatever is written in between. A cursor names the list it was made for: one that is used with another
//! list would leave out rows without a word.
use super::errors::Failure;
use crate::entity::{Entity, Kind, checks};
use crate::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, TAGS_IN_FILTER_MAX};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};
use uuid::Uuid;

/// What a request for a list asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Query<P> {
    /// Rows of a page, 1 to 1000.
    pub size: usize,
    /// The place of the last row of the page before.
    pub after: Option<P>,
    pub tags: Option<TagFilter>,
    /// Whether the request named a size; then `next` does too.
    size_given: bool,
}

/// Which list a cursor belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// All rows of a kind.
    pub fn collection(kind: Kind) -> Scope {
        Scope(kind.name().to_owned())
    }

    /// The rows of `child` that refer to the row `parent`.
    pub fn children(child: Kind, parent: Uuid) -> Scope {
        Scope(format!("{}/{parent}", child.name()))
    }

    /// All tags, or the rows that have this one.
    pub fn tags(tag: Option<&str>) -> Scope {
        Scope(format!("tags/{}", tag.unwrap_or_default()))
    }
}

/// Where a row stands in its list.
pub trait Place: Sized {
    fn texts(&self) -> Vec<String>;
    fn read(texts: &[String]) -> Option<Self>;
}

impl Place for Uuid {
    fn texts(&self) -> Vec<String> {
        vec![self.to_string()]
    }

    fn read(texts: &[String]) -> Option<Uuid> {
        match texts {
            [id] if checks::is_uuid(id) => id.parse().ok(),
            _ => None,
        }
    }
}

/// A row of `/tags`: one for each tag of each row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tagged {
    pub kind: Kind,
    pub id: Uuid,
    pub tag: String,
}

impl Tagged {
    pub fn to_json(&self) -> Value {
        serde_json::json!({
            "tag": self.tag,
            "entity_name": self.kind.name(),
            "entity_id": self.id,
        })
    }
}

impl Place for Tagged {
    fn texts(&self) -> Vec<String> {
        vec![
            self.kind.name().to_owned(),
            self.id.to_string(),
            self.tag.clone(),
        ]
    }

    fn read(texts: &[String]) -> Option<Tagged> {
        match texts {
            [kind, id, tag] if checks::is_uuid(id) => Some(Tagged {
                kind: Kind::from_name(kind)?,
                id: id.parse().ok()?,
                tag: tag.clone(),
            }),
            _ => None,
        }
    }
}

impl<P: Place> Query<P> {
    /// Reads the query component of a request target, without its `?`. Unknown arguments are ignored; of an argument
    /// that comes more than once the last counts.
    ///
    /// # Errors
    /// Code 9 (`size`), 7 (`offset`), 11 (`tags`).
    pub fn parse(query: &str, scope: &Scope) -> Result<Query<P>, Failure> {
        let (mut size, mut offset, mut tags) = (None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "size" => size = Some(value),
                "offset" => offset = Some(value),
                "tags" => tags = Some(value),
                _ => {}
            }
        }
        Ok(Query {
            size_given: size.is_some(),
            size: size.map_or(Ok(PAGE_SIZE_DEFAULT), |text| parse_size(&text))?,
            after: offset.map(|text| read_cursor(&text, scope)).transpose()?,
            tags: tags.map(|text| TagFilter::parse(&text)).transpose()?,
        })
    }

    /// The content of the answer. `path` is the request's, still encoded; `last` the place of the last row in `data`,
    /// when more rows follow it.
    pub fn page(&self, data: Vec<Value>, path: &str, scope: &Scope, last: Option<&P>) -> Value {
        let mut page = Map::new();
        page.insert("data".into(), Value::Array(data));
        match last {
            None => {
                page.insert("next".into(), Value::Null);
            }
            Some(last) => {
                let offset = write_cursor(scope, last);
                page.insert("next".into(), self.next(path, &offset).into());
                page.insert("offset".into(), offset.into());
            }
        }
        Value::Object(page)
    }

    /// Filter and size go along, on nested lists too (KONG.md §11, point 11).
    fn next(&self, path: &str, offset: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("offset", offset);
        if let Some(tags) = &self.tags {
            query.append_pair("tags", &tags.text());
        }
        if self.size_given {
            query.append_pair("size", &self.size.to_string());
        }
        let path = match path.strip_suffix('/') {
            Some(path) if !path.is_empty() => path,
            _ => path,
        };
        format!("{path}?{}", query.finish())
    }
}

fn parse_size(text: &str) -> Result<usize, Failure> {
    let number: f64 = match text.trim().parse() {
        Ok(number) if text.bytes().any(|b| b.is_ascii_digit()) => number,
        _ => return Err(Failure::invalid_size("size must be a number")),
    };
    if number.fract() != 0.0 || !(1.0..=PAGE_SIZE_MAX as f64).contains(&number) {
        return Err(Failure::invalid_size(&format!(
            "size must be an integer between 1 and {PAGE_SIZE_MAX}"
        )));
    }
    // Whole and in range, so the cast is exact.
    Ok(number as usize)
}

// ── cursors: base64 of a JSON array, the place and then the list ──

const CURSOR: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn write_cursor(scope: &Scope, place: &impl Place) -> String {
    let mut texts = place.texts();
    texts.push(scope.0.clone());
    let array: Value = texts.into_iter().map(Value::from).collect();
    CURSOR.encode(array.to_string())
}

fn read_cursor<P: Place>(text: &str, scope: &Scope) -> Result<P, Failure> {
    let bytes = CURSOR
        .decode(text)
        .map_err(|_| Failure::invalid_offset(text, "bad base64 encoding"))?;
    let texts: Vec<String> = serde_json::from_slice(&bytes)
        .map_err(|_| Failure::invalid_offset(text, "bad json encoding"))?;
    match texts.split_last() {
        Some((list, place)) if *list == scope.0 => {
            P::read(place).ok_or_else(|| Failure::invalid_offset(text, "bad json encoding"))
        }
        _ => Err(Failure::invalid_offset(text, "it belongs to another list")),
    }
}

// ── tags ──

/// `a,b`: rows with all of them; `a/b`: rows with any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFilter {
    All(Vec<String>),
    Any(Vec<String>),
}

impl TagFilter {
    /// # Errors
    /// Code 11: nothing, both separators, an empty or impossible tag, more than five.
    pub fn parse(text: &str) -> Result<TagFilter, Failure> {
        if text.is_empty() {
            return Err(Failure::invalid_option("tags", "cannot be null"));
        }
        let any = text.contains('/');
        let tags: Vec<String> = text
            .split(if any { '/' } else { ',' })
            .map(str::to_owned)
            .collect();
        let sound =
            |tag: &String| !tag.is_empty() && checks::tag(&Value::from(tag.as_str())).is_ok();
        if tags.len() > TAGS_IN_FILTER_MAX || !tags.iter().all(sound) {
            return Err(Failure::invalid_option("tags", "invalid filter syntax"));
        }
        Ok(match any {
            true => TagFilter::Any(tags),
            false => TagFilter::All(tags),
        })
    }

    pub fn admits(&self, row: &Entity) -> bool {
        let own = row.get("tags").and_then(Value::as_array);
        let has = |tag: &String| own.is_some_and(|own| own.iter().any(|own| own == tag.as_str()));
        match self {
            TagFilter::All(tags) => tags.iter().all(has),
            TagFilter::Any(tags) => tags.iter().any(has),
        }
    }

    fn text(&self) -> String {
        match self {
            TagFilter::All(tags) => tags.join(","),
            TagFilter::Any(tags) => tags.join("/"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const A: Uuid = Uuid::from_u128(0xa);

    fn parse(query: &str) -> Result<Query<Uuid>, Failure> {
        Query::parse(query, &Scope::collection(Kind::Services))
    }

    fn message(failure: &Failure) -> (u64, &str) {
        let body = failure.body.as_ref().unwrap();
        (
            body["code"].as_u64().unwrap(),
            body["message"].as_str().unwrap(),
        )
    }

    #[test]
    fn what_a_query_may_say() {
        for (section, query, code, text) in [
            ("2.4", "size=x", 9, "size must be a number"),
            ("2.4", "size=", 9, "size must be a number"),
            ("2.4", "size=inf", 9, "size must be a number"),
            (
                "2.4",
                "size=0",
                9,
                "size must be an integer between 1 and 1000",
            ),
            (
                "2.4",
                "size=-1",
                9,
                "size must be an integer between 1 and 1000",
            ),
            (
                "2.4",
                "size=1.5",
                9,
                "size must be an integer between 1 and 1000",
            ),
            (
                "2.4",
                "size=1001",
                9,
                "size must be an integer between 1 and 1000",
            ),
            (
                "2.4",
                "offset=%25",
                7,
                "'%' is not a valid offset: bad base64 encoding",
            ),
            (
                "2.4",
                "offset=x",
                7,
                "'x' is not a valid offset: bad base64 encoding",
            ),
            (
                "2.4",
                "offset=eA",
                7,
                "'eA' is not a valid offset: bad json encoding",
            ),
            (
                "2.4",
                "offset=WzFd",
                7,
                "'WzFd' is not a valid offset: bad json encoding",
            ),
            (
                "2.4",
                "tags=a,b/c",
                11,
                "invalid option (tags: invalid filter syntax)",
            ),
            (
                "2.4",
                "tags=a,,b",
                11,
                "invalid option (tags: invalid filter syntax)",
            ),
            (
                "2.4",
                "tags=a,b,c,d,e,f",
                11,
                "invalid option (tags: invalid filter syntax)",
            ),
            ("2.4", "tags=", 11, "invalid option (tags: cannot be null)"),
        ] {
            let failure = parse(query).unwrap_err();
            assert_eq!(message(&failure), (code, text), "{section}: {query}");
        }
        for (section, query, size) in [
            ("2.4 default", "", 100),
            ("2.4 least", "size=1", 1),
            ("2.4 most", "size=1000", 1000),
            ("2.4 unknown arguments", "name=x&sort_by=y&size=30", 30),
            ("2.4 five tags", "tags=a/b/c/d/e", 100),
        ] {
            assert_eq!(parse(query).unwrap().size, size, "{section}: {query}");
        }
    }

    #[test]
    fn a_cursor_is_good_for_its_own_list_only() {
        let scopes = [
            Scope::collection(Kind::Targets),
            Scope::collection(Kind::Services),
            Scope::children(Kind::Targets, A),
            Scope::children(Kind::Targets, Uuid::from_u128(0xb)),
            Scope::tags(None),
        ];
        for (index, scope) in scopes.iter().enumerate() {
            let cursor = write_cursor(scope, &A);
            assert!(!cursor.contains('='), "2.4 unpadded: {cursor}");
            for (other, read) in scopes.iter().enumerate() {
                let found = read_cursor::<Uuid>(&cursor, read);
                assert_eq!(found.is_ok(), index == other, "2.4: {scope:?} {read:?}");
            }
        }
        let tagged = Tagged {
            kind: Kind::Acls,
            id: A,
            tag: "größe / x".into(),
        };
        let scope = Scope::tags(Some("x"));
        let cursor = write_cursor(&scope, &tagged);
        assert_eq!(read_cursor(&cursor, &scope), Ok(tagged), "2.4");
    }

    #[test]
    fn the_next_page_is_asked_for_as_this_one_was() {
        let scope = Scope::collection(Kind::Services);
        let cursor = write_cursor(&scope, &A);
        for (section, query, path, rest) in [
            ("2.4", "", "/services", ""),
            ("2.4", "size=2", "/services", "&size=2"),
            ("2.4", "size=2&tags=a,b", "/services", "&tags=a%2Cb&size=2"),
            ("2.4", "tags=a%20b/c", "/services", "&tags=a+b%2Fc"),
            ("2.1 trailing slash", "", "/services/", ""),
            (
                "11.11 nested",
                "size=3",
                "/upstreams/%C3%A4/targets",
                "&size=3",
            ),
        ] {
            let query = parse(query).unwrap();
            let page = query.page(vec![json!(1)], path, &scope, Some(&A));
            let path = path.trim_end_matches('/');
            assert_eq!(
                page,
                json!({"data": [1], "next": format!("{path}?offset={cursor}{rest}"), "offset": cursor}),
                "{section}"
            );
            let next = page["next"].as_str().unwrap();
            let again = parse(next.split_once('?').unwrap().1).unwrap();
            assert_eq!(
                (again.after, again.tags),
                (Some(A), query.tags),
                "{section}"
            );
        }
        let query = parse("").unwrap();
        assert_eq!(
            query.page(vec![], "/services", &scope, None),
            json!({"data": [], "next": null}),
            "2.4: no offset on the last page"
        );
    }

    #[test]
    fn tags_filter_rows() {
        for (section, filter, tags, admitted) in [
            ("2.4 all", "a,b", json!(["b", "c", "a"]), true),
            ("2.4 all", "a,b", json!(["a"]), false),
            ("2.4 any", "a/b", json!(["b"]), true),
            ("2.4 any", "a/b", json!(["c"]), false),
            ("2.4 one", "a", json!(["a"]), true),
            ("2.4 none", "a", json!(null), false),
            (
                "6.21 spaces and letters",
                "größe x",
                json!(["größe x"]),
                true,
            ),
        ] {
            let row = Map::from_iter([("tags".to_owned(), tags)]);
            let filter = TagFilter::parse(filter).unwrap();
            assert_eq!(filter.admits(&row), admitted, "{section}: {filter:?}");
        }
    }
}
