//! The keys that a configuration type takes, asked of its own `Deserialize`.

use std::cell::RefCell;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

/// All keys, with dots, of everything below `T`.
pub fn keys<'de, T: Deserialize<'de>>() -> Vec<String> {
    let mut keys = Vec::new();
    add::<T>(&mut Vec::new(), &mut keys);
    keys
}

fn add<'de, T: Deserialize<'de>>(path: &mut Vec<&'static str>, keys: &mut Vec<String>) {
    let found = RefCell::new(None);
    // It always fails: only the question matters.
    let _ = T::deserialize(Probe { path, found: &found });
    let Some(fields) = found.into_inner() else {
        keys.push(path.join("."));
        return;
    };
    for field in fields {
        path.push(field);
        add::<T>(path, keys);
        path.pop();
    }
}

/// Walks down `path` and notes the fields of the struct that it finds there.
#[derive(Clone, Copy)]
struct Probe<'a> {
    path: &'a [&'static str],
    found: &'a RefCell<Option<&'static [&'static str]>>,
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("a leaf"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.path.is_empty() {
            *self.found.borrow_mut() = Some(fields);
            return Err(Error::custom("found"));
        }
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Probe<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let key: StrDeserializer<'_, Error> = self.path[0].into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Probe { path: &self.path[1..], found: self.found })
    }
}
