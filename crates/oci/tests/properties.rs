//! What is parsed is written as it was, whatever it is; what is not valid is refused, and nothing panics.

use gantry_oci::{Digest, Document, Platform, Reference};
use proptest::prelude::*;

proptest! {
    #[test]
    fn digests_come_back(bytes in any::<[u8; 32]>()) {
        let digest = Digest::from_bytes(bytes);
        prop_assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn references_come_back(
        host in "([a-z][a-z0-9]{0,8}\\.[a-z]{2,4}|localhost)(:[1-9][0-9]{0,3})?",
        path in "[a-z0-9]{1,6}([._-][a-z0-9]{1,6}){0,2}(/[a-z0-9]{1,6}){0,2}",
        tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
        digest in proptest::option::of(any::<[u8; 32]>()),
    ) {
        let mut text = format!("{host}/{path}");
        if let Some(tag) = &tag {
            text += &format!(":{tag}");
        }
        if let Some(digest) = digest {
            text += &format!("@{}", Digest::from_bytes(digest));
        }
        let reference: Reference = text.parse().expect("it is made by the grammar");
        prop_assert_eq!(reference.host(), host);
        prop_assert_eq!(reference.repository(), path);
        prop_assert_eq!(reference.to_string().parse(), Ok(reference));
    }

    #[test]
    fn platforms_have_one_form(text in "(linux|windows|darwin)/(amd64|x86_64|arm64|aarch64|arm|386|i386|s390x)(/v?[1-9])?") {
        let platform: Platform = text.parse().expect("it is made by the grammar");
        prop_assert_eq!(platform.to_string().parse(), Ok(platform.clone()));
        prop_assert_eq!(platform.accepts(&platform), Some(0));
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,80}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.to_string().parse(), Ok(reference));
        }
        let _ = text.parse::<Digest>();
        let _ = text.parse::<Platform>();
        let _ = Document::parse(text.as_bytes(), None);
    }
}
