// The documented sample; only the base URL and the port come from the environment.
const express = require('express');
const axios = require('axios');
const app = express();
app.use(express.json());
// Your secure backend proxy endpoint
app.post('/api/events', async (req, res) => {
  try {
    // Add your API key securely (stored in environment variables)
    const eventData = {
      'msggo-key': process.env.MSGGO_API_KEY,
      ...req.body
    };
    // Forward to MsgGO
    const response = await axios.post(`${process.env.POSTHASTE_URL}/inbox`, eventData);
    res.json(response.data);
  } catch (error) {
    console.error('Error forwarding event to MsgGO:', error);
    res.status(500).json({
      error: 'Failed to process event',
      details: error.message
    });
  }
});
const server = app.listen(process.env.PORT ?? 3000, () => {
  console.log(`Server running on port ${server.address().port}`);
});
