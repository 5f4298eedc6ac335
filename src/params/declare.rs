//! Parameter structs: fields, documentation and defaults written once.
//!
//! [`params!`](crate::params!) declares a struct whose fields all have defaults. It can be read from any serde format
//! (unknown fields are refused) and writes only the fields that differ from their default, so that a new option whose
//! default is the old behaviour changes no key.

/// Declares a parameter struct: fields, documentation and defaults in one place.
///
/// Every field type needs `Clone + PartialEq + Debug + Serialize + Deserialize`.
///
/// ```
/// flow::params! {
///     /// Ridge regression.
///     pub struct Ridge {
///         /// Penalty on the squared weights.
///         pub l2: f64 = 1.0,
///         pub intercept: bool = true,
///     }
/// }
/// let ridge: Ridge = ron::from_str("(l2: 2.0)").unwrap();
/// assert!(ridge.intercept);
/// assert_eq!(serde_json::to_string(&ridge).unwrap(), r#"{"l2":2.0}"#);
/// assert!(ron::from_str::<Ridge>("(l3: 2.0)").is_err());
/// ```
#[macro_export]
macro_rules! params {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* pub $field:ident : $type:ty = $default:expr ),* $(,)?
        }
    )+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                #[allow(unused_variables, reason = "a struct without fields has no defaults to compare with")]
                let default = Self::default();
                #[allow(unused_mut, reason = "a struct without fields writes none")]
                let mut map = serializer.serialize_map(None)?;
                $( if self.$field != default.$field {
                    map.serialize_entry(stringify!($field), &self.$field)?;
                } )*
                map.end()
            }
        }
    )+};
}

#[cfg(test)]
mod tests {
    params! {
        pub struct Inner {
            pub depth: usize = 12,
        }
        pub struct Outer {
            pub rate: f64 = 0.5,
            pub inner: Inner = Inner::default(),
            pub name: Option<String> = None,
        }
    }

    #[test]
    fn only_what_differs_from_its_default_is_written() {
        let outer: Outer = ron::from_str("(rate: 0.5, inner: (depth: 3))").unwrap();
        assert_eq!(serde_json::to_string(&outer).unwrap(), r#"{"inner":{"depth":3}}"#);
        assert_eq!(serde_json::to_string(&Outer::default()).unwrap(), "{}");
    }
}
