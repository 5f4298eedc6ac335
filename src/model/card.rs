//! What a reader of exported weights must know: which network they are of, as timm would build it, and what it expects of pictures.

use serde_json::{Value, json};

use super::file::{About, Preprocessing};
use super::sizes::Sizes;
use super::vit::VitSizes;
use super::xcit::XcitSizes;
use crate::data::Filter;

impl About {
    /// Returns architecture, preprocessing and classes.
    ///
    /// `architecture.timm` names a class of timm and the arguments with which it takes the weights (`class(**arguments)`, then
    /// `load_state_dict`); null where timm has no such network. `preprocessing` uses the words of timm's `data_config`.
    pub fn card(&self) -> Value {
        let classes = self.classes.as_ref().map_or(0, Vec::len);
        json!({
            "what": self.what,
            "architecture": {"sizes": self.sizes, "described": self.sizes.to_string(), "timm": in_timm(&self.sizes, self.preprocessing.side, classes)},
            "preprocessing": preprocessing(&self.preprocessing),
            "classes": self.classes,
        })
    }
}

fn in_timm(sizes: &Sizes, side: usize, classes: usize) -> Value {
    match sizes {
        // timm's stem has patches of 8 and 16.
        Sizes::Xcit(XcitSizes { patch, .. }) if ![8, 16].contains(patch) => Value::Null,
        Sizes::Xcit(XcitSizes { dim, depth, heads, patch, eta, tokens_norm, cls_depth }) => json!({
            "class": "timm.models.xcit.Xcit",
            "arguments": {
                "img_size": side, "patch_size": patch, "embed_dim": dim, "depth": depth, "num_heads": heads, "cls_attn_layers": cls_depth,
                "eta": eta, "tokens_norm": tokens_norm, "num_classes": classes,
            },
        }),
        Sizes::Vit(VitSizes { dim, depth, heads, patch, side, registers, layer_scale, .. }) => json!({
            "class": "timm.models.vision_transformer.VisionTransformer",
            "arguments": {
                "img_size": side, "patch_size": patch, "embed_dim": dim, "depth": depth, "num_heads": heads, "init_values": layer_scale,
                "reg_tokens": registers, "no_embed_class": *registers > 0, "dynamic_img_size": true, "num_classes": classes,
            },
        }),
    }
}

fn preprocessing(how: &Preprocessing) -> Value {
    let (mean, std) = how.normalisation.mean_and_deviation();
    let interpolation = match how.filter {
        Filter::Nearest => "nearest",
        Filter::Bilinear | Filter::Draft => "bilinear",
        Filter::Bicubic => "bicubic",
    };
    // Pictures are squeezed into the square, and nothing is cut off.
    json!({
        "input_size": [3, how.side, how.side], "interpolation": interpolation, "mean": mean, "std": std, "crop_pct": 1.0,
        "crop_mode": "squash",
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Vit, Xcit};
    use super::*;
    use crate::data::Normalisation;

    fn card(sizes: Sizes) -> Value {
        let preprocessing = Preprocessing { side: 224, filter: Filter::Bicubic, normalisation: Normalisation::MinusOneToOne };
        About { what: "imported".into(), sizes, preprocessing, classes: Some(vec!["a".into(), "b".into()]) }.card()
    }

    #[test]
    fn a_card_says_what_timm_must_be_told() {
        let card_of_xcit = card(Xcit::named("small_12_p8").sizes().unwrap());
        let timm = &card_of_xcit["architecture"]["timm"];
        assert_eq!((&timm["class"], &timm["arguments"]["num_classes"]), (&json!("timm.models.xcit.Xcit"), &json!(2)));
        assert_eq!(card_of_xcit["preprocessing"]["mean"], json!([0.5, 0.5, 0.5]));
        assert_eq!(card_of_xcit["classes"], json!(["a", "b"]));
        let timm = card(Vit::named("small_p14_reg4").sizes().unwrap())["architecture"]["timm"]["arguments"].clone();
        assert_eq!((&timm["img_size"], &timm["reg_tokens"], &timm["no_embed_class"]), (&json!(518), &json!(4), &json!(true)));
        assert_eq!(card(Xcit::named("nano_12_p4").sizes().unwrap())["architecture"]["timm"], Value::Null);
    }
}
