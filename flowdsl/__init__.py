from flowdsl.errors import FlowError, FlowIssue
from flowdsl.instance import Instance
from flowdsl.model import Flow
