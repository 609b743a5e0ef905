# The documented sample; only the base URL comes from the environment.
import os
import requests
from flask import Flask, request, jsonify
app = Flask(__name__)
@app.route('/api/events', methods=['POST'])
def forward_event():
    try:
        # Get data from frontend request
        event_data = request.json
        # Add API key securely (stored in environment variables)
        event_data['msggo-key'] = os.environ.get('MSGGO_API_KEY')
        # Forward to MsgGO
        response = requests.post(
            os.environ['POSTHASTE_URL'] + '/inbox',
            json=event_data,
        )
        # Return the response from MsgGO
        return jsonify(response.json()), response.status_code
    except Exception as e:
        return jsonify({
            'error': 'Failed to process event',
            'details': str(e)
        }), 500
if __name__ == '__main__':
    app.run(port=3000)
