//! The field table: what a field of an entity is, as data.
//!
//! Each entity's file holds one `Schema`; `validate` interprets it, and whatever else follows from a
//! field (PATCH, `/schemas`, form decoding) reads the same table.
use super::errors::Errors;
use super::validate::Context;
use super::{
    Entity, Kind, acls, ca_certificates, certificates, consumers, mtls_auth_credentials, plugins,
    routes, services, snis, targets, upstreams,
};
use serde_json::{Map, Value};

/// One entity type.
pub struct Schema {
    pub kind: Kind,
    /// In the order in which they are listed and written.
    pub fields: &'static [Field],
    /// The field by which URLs and references name an entity; `None`: by id only.
    pub endpoint_key: Option<&'static str>,
    /// Field tuples that are unique together; single-field uniqueness is on the field.
    pub unique_together: &'static [&'static [&'static str]],
    pub checks: &'static [EntityCheck],
    /// Input-only fields that expand into others, before anything is checked.
    pub shorthands: &'static [Shorthand],
    /// Rewrites the input before defaults are filled in (values that depend on other fields).
    pub prepare: Option<fn(&mut Map<String, Value>)>,
    /// Rewrites the checked entity (computed fields, normal forms). Runs only when no field is in error.
    pub finish: Option<fn(&mut Entity)>,
}

/// An input-only field.
pub struct Shorthand {
    pub name: &'static str,
    /// Puts the fields it stands for into the map.
    pub expand: fn(Value, &mut Map<String, Value>, &mut Errors),
}

/// One field, or one element, key or value of a compound field (then its name is empty).
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
    pub default: Option<Literal>,
    pub one_of: Choices,
    /// Inclusive; for integers and numbers.
    pub between: Option<(i64, i64)>,
    /// Bytes of a string, elements of an array or set.
    pub len_min: Option<usize>,
    pub check: Option<Check>,
    pub unique: bool,
    pub auto: Option<Auto>,
    pub uuid: bool,
    /// Only null is accepted (a plugin that has no such scope).
    pub must_be_null: bool,
    /// Accepted and checked, never part of a stored row.
    pub transient: bool,
    /// In a file it may be `{vault://…}`, which is followed before the row is checked.
    pub referenceable: bool,
}

/// A check of one value of the right shape; the error is the wire text.
pub type Check = fn(&Value) -> Result<(), String>;

#[derive(Clone, Copy, Debug)]
pub enum Shape {
    String,
    Integer,
    Number,
    Boolean,
    Array(&'static Field),
    /// An array that drops duplicates; the first of each stays where it is.
    Set(&'static Field),
    Map {
        keys: &'static Field,
        values: &'static Field,
    },
    Record(&'static [Field]),
    Foreign {
        to: Kind,
        on_delete: OnDelete,
    },
}

/// What becomes of the referring row when the referenced one is deleted (KONG.md §1.12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDelete {
    Restrict,
    Cascade,
}

/// Values the server makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Auto {
    /// UUIDv4 unless supplied.
    Id,
    /// Seconds, whole; unless supplied.
    CreatedAt,
    /// Seconds, whole; always overwritten.
    UpdatedAt,
    /// Seconds with milliseconds; unless supplied.
    CreatedAtFraction,
    /// Seconds with milliseconds; always overwritten.
    UpdatedAtFraction,
    /// Set by `Schema::finish`; what a client sends is dropped.
    Computed,
}

#[derive(Clone, Copy, Debug)]
pub enum Choices {
    Any,
    Texts(&'static [&'static str]),
    Integers(&'static [i64]),
}

/// A constant default.
#[derive(Clone, Copy, Debug)]
pub enum Literal {
    Bool(bool),
    Integer(i64),
    Text(&'static str),
    Texts(&'static [&'static str]),
    Integers(&'static [i64]),
}

/// A rule over several fields. Skipped while one of the fields it looks at is itself in error.
#[derive(Clone, Copy)]
pub enum EntityCheck {
    AtLeastOneOf(&'static [&'static str]),
    OnlyOneOf(&'static [&'static str]),
    AllOrNone(&'static [&'static str]),
    Distinct(&'static [&'static str]),
    /// The elements of the set all belong to one of these groups.
    ExclusiveSets {
        field: &'static str,
        groups: &'static [&'static [&'static str]],
    },
    /// When `when` holds, `then_field` must satisfy `then`; a failure has a twin under `@entity`.
    Conditional {
        field: &'static str,
        when: When,
        then_field: &'static str,
        then: Then,
        /// In place of the text of `then`.
        message: Option<&'static str>,
    },
    /// When `when` holds, one of `then` must be non-empty.
    ConditionalAtLeastOneOf {
        field: &'static str,
        when: When,
        then: &'static [&'static str],
        message: &'static str,
    },
    Custom {
        fields: &'static [&'static str],
        run: fn(&Entity, &Context<'_>, &mut Errors),
    },
}

/// A condition on the value of a field: a string, or a set of strings.
#[derive(Clone, Copy)]
pub enum When {
    Is(&'static str),
    OneOf(&'static [&'static str]),
    NotOneOf(&'static [&'static str]),
    Contains(&'static str),
    /// Holds the first and lacks the second.
    ContainsWithout(&'static str, &'static str),
    ContainsAny(&'static [&'static str]),
    ContainsNone(&'static [&'static str]),
}

#[derive(Clone, Copy)]
pub enum Then {
    /// Null, or an empty list or map.
    Unset,
    Null,
    Required,
    OneOf(&'static [&'static str]),
    False,
}

pub fn of(kind: Kind) -> &'static Schema {
    match kind {
        Kind::Certificates => &certificates::SCHEMA,
        Kind::Snis => &snis::SCHEMA,
        Kind::CaCertificates => &ca_certificates::SCHEMA,
        Kind::Services => &services::SCHEMA,
        Kind::Routes => &routes::SCHEMA,
        Kind::Consumers => &consumers::SCHEMA,
        Kind::MtlsAuthCredentials => &mtls_auth_credentials::SCHEMA,
        Kind::Acls => &acls::SCHEMA,
        Kind::Upstreams => &upstreams::SCHEMA,
        Kind::Targets => &targets::SCHEMA,
        Kind::Plugins => &plugins::SCHEMA,
    }
}

impl Kind {
    /// Every kind; a reference only points to a kind further to the left.
    pub const ALL: [Kind; 11] = [
        Kind::Certificates,
        Kind::Snis,
        Kind::CaCertificates,
        Kind::Services,
        Kind::Routes,
        Kind::Consumers,
        Kind::MtlsAuthCredentials,
        Kind::Acls,
        Kind::Upstreams,
        Kind::Targets,
        Kind::Plugins,
    ];

    /// Kong's name: the declarative key, and the word in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Certificates => "certificates",
            Kind::Snis => "snis",
            Kind::CaCertificates => "ca_certificates",
            Kind::Services => "services",
            Kind::Routes => "routes",
            Kind::Consumers => "consumers",
            Kind::MtlsAuthCredentials => "mtls_auth_credentials",
            Kind::Acls => "acls",
            Kind::Upstreams => "upstreams",
            Kind::Targets => "targets",
            Kind::Plugins => "plugins",
        }
    }

    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Schema {
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The foreign fields and what they point to.
    pub fn references(&self) -> impl Iterator<Item = (&'static Field, Kind)> {
        self.fields.iter().filter_map(|field| match field.shape {
            Shape::Foreign { to, .. } => Some((field, to)),
            _ => None,
        })
    }
}

impl Literal {
    pub fn value(self) -> Value {
        match self {
            Literal::Bool(value) => value.into(),
            Literal::Integer(value) => value.into(),
            Literal::Text(value) => value.into(),
            Literal::Texts(values) => values.iter().copied().map(Value::from).collect(),
            Literal::Integers(values) => values.iter().copied().map(Value::from).collect(),
        }
    }
}

impl EntityCheck {
    /// The fields it looks at; `config.x` counts as `config`.
    pub fn fields(&self) -> impl Iterator<Item = &'static str> {
        let (first, rest): (Option<&'static str>, &'static [&'static str]) = match *self {
            EntityCheck::AtLeastOneOf(fields)
            | EntityCheck::OnlyOneOf(fields)
            | EntityCheck::AllOrNone(fields)
            | EntityCheck::Distinct(fields)
            | EntityCheck::Custom { fields, .. } => (None, fields),
            EntityCheck::ExclusiveSets { field, .. } => (Some(field), &[]),
            EntityCheck::ConditionalAtLeastOneOf { field, then, .. } => (Some(field), then),
            EntityCheck::Conditional {
                field, then_field, ..
            } => {
                return Either::Two([field, then_field].into_iter());
            }
        };
        Either::Many(first.into_iter().chain(rest.iter().copied()))
    }
}

/// Two iterators of one item type.
enum Either<A, B> {
    Two(A),
    Many(B),
}

impl<T, A: Iterator<Item = T>, B: Iterator<Item = T>> Iterator for Either<A, B> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self {
            Either::Two(items) => items.next(),
            Either::Many(items) => items.next(),
        }
    }
}

// ── how tables are written ──

impl Field {
    const fn new(name: &'static str, shape: Shape) -> Field {
        Field {
            name,
            shape,
            required: false,
            default: None,
            one_of: Choices::Any,
            between: None,
            len_min: None,
            check: None,
            unique: false,
            auto: None,
            uuid: false,
            must_be_null: false,
            transient: false,
            referenceable: false,
        }
    }

    /// Of at least one byte.
    pub const fn string(name: &'static str) -> Field {
        Field::new(name, Shape::String).len_min(1)
    }

    pub const fn integer(name: &'static str) -> Field {
        Field::new(name, Shape::Integer)
    }

    pub const fn number(name: &'static str) -> Field {
        Field::new(name, Shape::Number)
    }

    pub const fn boolean(name: &'static str) -> Field {
        Field::new(name, Shape::Boolean)
    }

    pub const fn array(name: &'static str, elements: &'static Field) -> Field {
        Field::new(name, Shape::Array(elements))
    }

    pub const fn set(name: &'static str, elements: &'static Field) -> Field {
        Field::new(name, Shape::Set(elements))
    }

    pub const fn map(name: &'static str, keys: &'static Field, values: &'static Field) -> Field {
        Field::new(name, Shape::Map { keys, values })
    }

    pub const fn record(name: &'static str, fields: &'static [Field]) -> Field {
        Field::new(name, Shape::Record(fields))
    }

    pub const fn foreign(name: &'static str, to: Kind, on_delete: OnDelete) -> Field {
        Field::new(name, Shape::Foreign { to, on_delete })
    }

    pub const fn required(mut self) -> Field {
        self.required = true;
        self
    }

    pub const fn default(mut self, value: Literal) -> Field {
        self.default = Some(value);
        self
    }

    pub const fn one_of(mut self, choices: &'static [&'static str]) -> Field {
        self.one_of = Choices::Texts(choices);
        self
    }

    pub const fn one_of_integers(mut self, choices: &'static [i64]) -> Field {
        self.one_of = Choices::Integers(choices);
        self
    }

    pub const fn between(mut self, low: i64, high: i64) -> Field {
        self.between = Some((low, high));
        self
    }

    pub const fn len_min(mut self, length: usize) -> Field {
        self.len_min = Some(length);
        self
    }

    pub const fn check(mut self, check: Check) -> Field {
        self.check = Some(check);
        self
    }

    pub const fn unique(mut self) -> Field {
        self.unique = true;
        self
    }

    pub const fn auto(mut self, auto: Auto) -> Field {
        self.auto = Some(auto);
        self
    }

    /// A string that is a UUID; stored in lower case.
    pub const fn uuid(name: &'static str) -> Field {
        let mut field = Field::new(name, Shape::String);
        field.uuid = true;
        field
    }

    pub const fn null_only(mut self) -> Field {
        self.must_be_null = true;
        self
    }

    pub const fn transient(mut self) -> Field {
        self.transient = true;
        self
    }

    pub const fn referenceable(mut self) -> Field {
        self.referenceable = true;
        self
    }
}

/// Fields that most entities share (KONG.md §1.1).
pub mod common {
    use super::super::checks;
    use super::{Auto, Field};

    pub const ID: Field = Field::uuid("id").auto(Auto::Id);
    pub const CREATED_AT: Field = Field::integer("created_at").auto(Auto::CreatedAt);
    pub const UPDATED_AT: Field = Field::integer("updated_at").auto(Auto::UpdatedAt);
    pub const TAGS: Field = Field::set("tags", &TAG);
    /// Unique among the entities of one type.
    pub const NAME: Field = Field::string("name").check(checks::utf8_name).unique();
    pub const UUID: Field = Field::uuid("");
    pub const STRING: Field = Field::string("");
    pub const TAG: Field = Field::string("").check(checks::tag);
}
