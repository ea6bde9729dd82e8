# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Digitisation of ILD's calorimeters and PandoraPFA without tracks, on EDM4hep files of ddsim or ddcalogen.

k4run steering/k4run_ild_calorimeters.py --inputFiles photons.edm4hep.root --outputFile photons_rec.edm4hep.root \
      --pandoraSettings $ILDCONFIG/StandardConfig/production/PandoraSettings/PandoraSettingsDefault.xml

Processors, parameters and calibration are those of ILDConfig for ILD_l5_o1_v02 (silicon ECAL, scintillator HCAL). There
is no tracking in it: good for photons and neutral hadrons. Complete events need nothing special either: give the file
to ILDConfig's own ILDReconstruction.py (--inputFiles, --detectorModel ILD_l5_o1_v02).
"""

import os

from Configurables import EventDataSvc, GeoSvc, MarlinProcessorWrapper
from Gaudi.Configuration import INFO
from k4FWCore import ApplicationMgr, IOSvc
from k4FWCore.parseArgs import parser
from k4MarlinWrapper.io_helpers import IOHandlerHelper

parser.add_argument("--inputFiles", nargs="+", required=True, help="EDM4hep files")
parser.add_argument("--outputFile", required=True, help="EDM4hep file to write")
parser.add_argument("--pandoraSettings", default="", help="PandoraSettingsDefault.xml; left out: digitisation only")
parser.add_argument(
    "--compactFile",
    default=os.path.join(os.environ.get("K4GEO", ""), "ILD/compact/ILD_l5_o1_v02/ILD_l5_o1_v02.xml"),
    help="detector to reconstruct in",
)
options = parser.parse_known_args()[0]

# detector part: simulated hits, hits of the chain, MIP in GeV, factors from MIP to GeV
ECAL = {
    "Barrel": ("EcalBarrelCollection", "EcalBarrel", "0.0001575", ["0.0063520964756", "0.012902699188"]),
    "Endcap": ("EcalEndcapsCollection", "EcalEndcaps", "0.0001575", ["0.0067218419842", "0.013653744940"]),
    "Ring": ("EcalEndcapRingCollection", "EcalEndcapRing", "0.0001575", ["0.0066536339", "0.0135151972"]),
}
HCAL = {
    "Barrel": ("HcalBarrelRegCollection", "HcalBarrel", "0.0004925", ["0.0287783798145"]),
    "Endcap": ("HcalEndcapsCollection", "HcalEndcaps", "0.0004725", ["0.0285819096797"]),
    "Ring": ("HcalEndcapRingCollection", "HcalEndcapRing", "0.0004875", ["0.0349940637704"]),
}
SENSOR = {"ppd_mipPe": ["15"], "ppd_npix": ["2000"]}

algorithms = []


def processor(name, kind, parameters):
    """Append a Marlin processor."""
    wrapper = MarlinProcessorWrapper(name)
    wrapper.OutputLevel = INFO
    wrapper.ProcessorType = kind
    wrapper.Parameters = parameters
    algorithms.append(wrapper)


def digitise(calorimeter, part, hits, digi_kind, reco_kind, groups, digi_more, reco_more):
    """Simulated hits -> MIPs -> GeV, as ILDConfig does for one detector part."""
    simulated, name, mip, factors = hits
    digi = {
        "inputHitCollections": [simulated],
        "outputHitCollections": [f"{name}CollectionDigi"],
        "outputRelationCollections": [f"{name}RelationsSimDigi"],
        "calibration_mip": [mip],
        "threshold": ["0.5"],
        "timingCut": ["1"],
        "CellIDLayerString": ["layer"],
    }
    processor(f"My{calorimeter}{part}Digi", digi_kind, digi | digi_more)
    reco = {
        "inputHitCollections": [f"{name}CollectionDigi"],
        "inputRelationCollections": [f"{name}RelationsSimDigi"],
        "outputHitCollections": [f"{name}CollectionRec"],
        "outputRelationCollections": [f"{name}RelationsSimRec"],
        "calibration_layergroups": groups,
        "calibration_factorsMipGev": factors,
        "CellIDLayerString": ["layer"],
    }
    processor(f"My{calorimeter}{part}Reco", reco_kind, reco | reco_more)


services = [EventDataSvc("EventDataSvc")]
files = IOSvc()
geometry = GeoSvc("GeoSvc")
geometry.detectors = [options.compactFile]
geometry.EnableGeant4Geo = False
services.append(geometry)
helper = IOHandlerHelper(algorithms, files)
helper.add_reader(options.inputFiles)

for part, target in (("Barrel", "EcalBarrelCollection"), ("Endcap", "EcalEndcapsCollection")):
    processor(
        f"MergeCollectionsEcal{part}Hits",
        "MergeCollections",
        {
            "InputCollections": [f"ECal{part}SiHitsEven", f"ECal{part}SiHitsOdd"],
            "OutputCollection": [target],
        },
    )
for part, hits in ECAL.items():
    digitise("Ecal", part, hits, "RealisticCaloDigiSilicon", "RealisticCaloRecoSilicon", ["20", "11"], {}, {})
    if part != "Ring":
        processor(
            f"MyEcal{part}GapFiller",
            "BruteForceEcalGapFiller",
            {
                "inputHitCollection": [f"{hits[1]}CollectionRec"],
                "outputHitCollection": [f"{hits[1]}CollectionGapHits"],
                "CellIDLayerString": ["layer"],
                "CellIDModuleString": ["module"],
                "CellIDStaveString": ["stave"],
                "applyInterModuleCorrection": ["false"],
                "expectedInterModuleDistance": ["7.0"],
            },
        )
for part, hits in HCAL.items():
    noise = {"thresholdUnit": ["MIP"], "ppd_npix_uncert": ["0"], "ppd_pix_spread": ["0"]}
    kinds = ("RealisticCaloDigiScinPpd", "RealisticCaloRecoScinPpd")
    digitise("Hcal", part, hits, *kinds, ["100"], SENSOR | noise, SENSOR)

if options.pandoraSettings:
    ecal = [f"{hits[1]}CollectionRec" for hits in ECAL.values()]
    hcal = [f"{hits[1]}CollectionRec" for hits in HCAL.values()]
    processor(
        "MyDDMarlinPandora",
        "DDPandoraPFANewProcessor",
        {
            "PandoraSettingsXmlFile": [options.pandoraSettings],
            "MCParticleCollections": ["MCParticle"],  # k4MarlinWrapper converts MCParticles to it
            "ECalCaloHitCollections": [*ecal, "EcalBarrelCollectionGapHits", "EcalEndcapsCollectionGapHits"],
            "HCalCaloHitCollections": hcal,
            "LCalCaloHitCollections": [],
            "LHCalCaloHitCollections": [],
            "MuonCaloHitCollections": [],
            "RelCaloHitCollections": [f"{h[1]}RelationsSimRec" for h in (*ECAL.values(), *HCAL.values())],
            "TrackCollections": [],
            "RelTrackCollections": [],
            "KinkVertexCollections": [],
            "ProngVertexCollections": [],
            "SplitVertexCollections": [],
            "V0VertexCollections": [],
            "ClusterCollectionName": ["PandoraClusters"],
            "PFOCollectionName": ["PandoraPFOs"],
            "StartVertexCollectionName": ["PandoraPFANewStartVertices"],
            "StartVertexAlgorithmName": ["PandoraPFANew"],
            "TrackCreatorName": ["DDTrackCreatorILD"],
            "CoilName": ["Coil"],
            "ECalBarrelDetectorName": ["EcalBarrel"],
            "ECalEndcapDetectorName": ["EcalEndcap"],
            "ECalOtherDetectorNames": ["EcalPlug", "Lcal", "BeamCal"],
            "HCalBarrelDetectorName": ["HcalBarrel"],
            "HCalEndcapDetectorName": ["HcalEndcap"],
            "HCalOtherDetectorNames": ["HcalRing", "LHcal"],
            "MuonBarrelDetectorName": ["YokeBarrel"],
            "MuonEndcapDetectorName": ["YokeEndcap"],
            "MuonOtherDetectorNames": [],
            "TrackerBarrelDetectorNames": ["TPC"],
            "TrackerEndcapDetectorNames": ["FTD"],
            "VertexBarrelDetectorName": ["VXD"],
            "YokeBarrelNormalVector": ["0", "1", "0"],
            "CreateGaps": ["false"],
            "UseDD4hepField": ["false"],
            "DigitalMuonHits": ["0"],
            "ECalToMipCalibration": ["153.846"],
            "HCalToMipCalibration": ["37.1747"],
            "MuonToMipCalibration": ["10.5263"],
            "ECalMipThreshold": ["0.5"],
            "HCalMipThreshold": ["0.3"],
            "ECalToEMGeVCalibration": ["1.0"],
            "HCalToEMGeVCalibration": ["1.0"],
            "ECalToHadGeVCalibrationBarrel": ["1.17344504717"],
            "ECalToHadGeVCalibrationEndCap": ["1.17344504717"],
            "HCalToHadGeVCalibration": ["1.02821419758"],
            "MaxHCalHitHadronicEnergy": ["1000000."],
        },
    )

helper.add_edm4hep_writer(options.outputFile, ["keep *"])
helper.finalize_converters()
ApplicationMgr(TopAlg=algorithms, EvtSel="NONE", EvtMax=-1, ExtSvc=services, OutputLevel=INFO)
