// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
/// Detector type DDCaloGen_LayerStack: slices of matter one behind the other along +z, as in a stave of a calorimeter
/// but without any gap. What the models are trained on is made in such a stack; compact files are in steering/compact.
///
///     <detector id="1" name="..." type="DDCaloGen_LayerStack" readout="...">
///       <dimensions x="2*m" y="2*m"/>  <position z="0*mm"/>      full widths; front face
///       <slice material="..." thickness="..."/>
///       <stack repeat="10">  slices and stacks  </stack>
///     </detector>
///
/// Sensitive slices are numbered from 0 in the field `layer` of the readout.
#include <DD4hep/DetFactoryHelper.h>
#include <DD4hep/Printout.h>

#include <string>
#include <vector>

namespace {

struct Slice {
  std::string material;
  double thickness; ///< in DD4hep's units
  bool sensitive;
  std::string visualisation;
};

void collect(xml_h parent, std::vector<Slice>& slices) {
  for (xml_coll_t child(parent, _U(star)); child; ++child) {
    const xml_comp_t element(child);
    if (child.tag() == "slice") {
      slices.push_back({element.materialStr(), element.thickness(), element.isSensitive(), element.visStr()});
    } else if (child.tag() == "stack") {
      for (int i = 0, count = element.repeat(); i < count; ++i)
        collect(child, slices);
    }
  }
}

dd4hep::Ref_t create_layer_stack(dd4hep::Detector& description, xml_h handle, dd4hep::SensitiveDetector sensitive) {
  const xml_det_t xml(handle);
  const double half_x = xml.dimensions().x() / 2, half_y = xml.dimensions().y() / 2;
  std::vector<Slice> slices;
  collect(handle, slices);
  double depth = 0;
  for (const auto& slice : slices)
    depth += slice.thickness;
  if (slices.empty())
    dd4hep::except("DDCaloGen_LayerStack",
                   "detector %s has no slices: give it <slice material=\"...\" thickness=\"...\"/>",
                   xml.nameStr().c_str());

  dd4hep::DetElement detector(xml.nameStr(), xml.id());
  dd4hep::Volume envelope(xml.nameStr(), dd4hep::Box(half_x, half_y, depth / 2), description.air());
  envelope.setAttributes(description, xml.regionStr(), xml.limitsStr(), xml.visStr());
  sensitive.setType("calorimeter");

  double front = -depth / 2;
  int layer = 0;
  for (std::size_t i = 0; i < slices.size(); ++i) {
    const auto& slice = slices[i];
    dd4hep::Volume volume(dd4hep::_toString(static_cast<int>(i), "slice%d"),
                          dd4hep::Box(half_x, half_y, slice.thickness / 2), description.material(slice.material));
    volume.setAttributes(description, xml.regionStr(), xml.limitsStr(), slice.visualisation);
    if (slice.sensitive)
      volume.setSensitiveDetector(sensitive);
    auto placed = envelope.placeVolume(volume, dd4hep::Position(0, 0, front + slice.thickness / 2));
    if (slice.sensitive) {
      placed.addPhysVolID("layer", layer);
      dd4hep::DetElement(detector, dd4hep::_toString(layer, "layer%d"), layer).setPlacement(placed);
      ++layer;
    }
    front += slice.thickness;
  }

  auto placed = description.pickMotherVolume(detector).placeVolume(
      envelope, dd4hep::Position(0, 0, xml.position().z() + depth / 2));
  placed.addPhysVolID("system", xml.id());
  detector.setPlacement(placed);
  return detector;
}

} // namespace

DECLARE_DETELEMENT(DDCaloGen_LayerStack, create_layer_stack)
