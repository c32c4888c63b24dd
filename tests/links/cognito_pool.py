"""Makes an identity pool for guests at moto, with Amazon's boto3, and prints its id.

cognito_pool.py PORT
"""
import sys

import boto3

client = boto3.client(
    "cognito-identity",
    region_name="us-east-1",
    endpoint_url=f"http://127.0.0.1:{sys.argv[1]}",
    aws_access_key_id="test",
    aws_secret_access_key="test",
)
pool = client.create_identity_pool(IdentityPoolName="guests", AllowUnauthenticatedIdentities=True)
print(pool["IdentityPoolId"])
