//! CycloneDX 1.6, JSON.
//!
//! The image is the component that the document is about; packages are components that it depends on, each with its
//! source package as its pedigree.

use serde_json::{Map, Value, json};

use super::document::Document;
use super::licence::Licence;
use super::package::Package;

const SCHEMA: &str = "http://cyclonedx.org/schema/bom-1.6.schema.json";

pub(super) fn document(of: &Document<'_>) -> Value {
    let mut components = Vec::new();
    components.extend(system(of));
    components.extend(of.inventory.packages.iter().map(|package| component(of, package)));
    let image = image(of);
    let references: Vec<Value> = components.iter().map(|component| component["bom-ref"].clone()).collect();
    let uuid = of.uuid(&json!(components));
    json!({
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{uuid}"),
        "version": 1,
        "metadata": {
            "timestamp": of.image.created,
            "tools": { "components": [
                { "type": "application", "name": "gantry", "version": of.image.tool_version },
            ] },
            "component": image,
        },
        "components": components,
        "dependencies": [{ "ref": image["bom-ref"], "dependsOn": references }],
    })
}

fn image(of: &Document<'_>) -> Value {
    let mut image = Map::new();
    image.insert("bom-ref".to_owned(), json!(of.image.manifest));
    image.insert("type".to_owned(), json!("container"));
    image.insert("name".to_owned(), json!(of.name()));
    image.insert("version".to_owned(), json!(of.image.manifest));
    Value::Object(image)
}

fn system(of: &Document<'_>) -> Option<Value> {
    let distro = &of.inventory.distro;
    if distro.id.is_empty() {
        return None;
    }
    let mut system = Map::new();
    system.insert("bom-ref".to_owned(), json!("operating-system"));
    system.insert("type".to_owned(), json!("operating-system"));
    system.insert("name".to_owned(), json!(distro.id));
    if !distro.version.is_empty() {
        system.insert("version".to_owned(), json!(distro.version));
    }
    if !distro.name.is_empty() {
        system.insert("description".to_owned(), json!(distro.name));
    }
    Some(Value::Object(system))
}

fn component(of: &Document<'_>, package: &Package) -> Value {
    let purl = package.purl(&of.inventory.distro).to_string();
    let mut component = Map::new();
    component.insert("bom-ref".to_owned(), json!(format!("{purl}#{}", package.database)));
    component.insert("type".to_owned(), json!("library"));
    if !package.supplier.is_empty() {
        component.insert("publisher".to_owned(), json!(package.supplier));
    }
    component.insert("name".to_owned(), json!(package.name));
    let version = match package.epoch {
        Some(epoch) if epoch > 0 => format!("{epoch}:{}", package.version),
        _ => package.version.clone(),
    };
    component.insert("version".to_owned(), json!(version));
    match Licence::parse(&package.licence) {
        Licence::None => {}
        Licence::Expression(expression) => {
            component.insert("licenses".to_owned(), json!([{ "expression": expression }]));
        }
        Licence::Text(text) => {
            component.insert("licenses".to_owned(), json!([{ "license": { "name": text } }]));
        }
    }
    component.insert("purl".to_owned(), json!(purl));
    if package.homepage.starts_with("http://") || package.homepage.starts_with("https://") {
        let reference = json!([{ "type": "website", "url": package.homepage }]);
        component.insert("externalReferences".to_owned(), reference);
    }
    if let Some((source, purl)) = package.source.as_ref().zip(package.source_purl(&of.inventory.distro)) {
        let ancestor = json!({ "type": "library", "name": source.name, "version": source.version, "purl": purl.to_string() });
        component.insert("pedigree".to_owned(), json!({ "ancestors": [ancestor] }));
    }
    let database = json!([{ "name": "gantry:package:database", "value": format!("/{}", package.database) }]);
    component.insert("properties".to_owned(), database);
    Value::Object(component)
}
