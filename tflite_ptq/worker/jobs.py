"""The runtime child's jobs that decode samples or work on a model: a second of imports, so a module of their own."""

from __future__ import annotations

from tflite_ptq.result import Frozen
from tflite_ptq.worker.auditing import audit_file
from tflite_ptq.worker.calibrating import calibrate
from tflite_ptq.worker.calibration_messages import Calibrate, Correct, Examine, Prepare
from tflite_ptq.worker.child import ReportProgress
from tflite_ptq.worker.comparing import compare_layers, compare_outputs
from tflite_ptq.worker.correcting import correct
from tflite_ptq.worker.debug_messages import CompareLayers, CompareOutputs
from tflite_ptq.worker.examining import examine
from tflite_ptq.worker.init_messages import LookAt
from tflite_ptq.worker.looking import first_sample, look_at
from tflite_ptq.worker.messages import AuditFile, Evaluate, FirstSample, WorkingJob
from tflite_ptq.worker.preparing import prepare


def work(request: WorkingJob, progress: ReportProgress) -> Frozen:
    """Does the job. Raises what it raises."""
    match request:
        case FirstSample():
            return first_sample(request)
        case Examine():
            return examine(request)
        case Calibrate():
            return calibrate(request, progress)
        case Prepare():
            return prepare(request, progress)
        case Correct():
            return correct(request)
        case AuditFile():
            return audit_file(request)
        case Evaluate():
            from tflite_ptq.worker.evaluating import evaluate_models  # the longest imports: see runtime.LATER

            return evaluate_models(request, progress)
        case CompareLayers():
            return compare_layers(request)
        case CompareOutputs():
            return compare_outputs(request)
        case LookAt():
            return look_at(request)
